"""Zombies as /proc shows them: the part that the bcc and proc sources share."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

from tracer.clock import TICK_NS, boot_ns
from tracer.model import CgroupKey, Child, Forker, Identity, SnapshotKey
from tracer.procfs.fs import ProcFormatError, ProcFs, Stat
from tracer.procfs.parse import parse_stat

_STAT_BYTES = 2048
"""A stat line has at most 52 numbers of 20 digits, and a name of 15 bytes."""


def zombie_stats(procfs: ProcFs, pids: Iterable[int]) -> Iterator[Stat]:
    """Yield the stat of those processes that are zombies, reading each file once.

    The hot loop of a scan, 13 µs a process: three system calls, and of a process that is not
    a zombie nothing is parsed but its state letter. Vanished processes are passed over,
    refused and unparsable ones are counted in procfs.
    """
    root = procfs.fd()
    open_, read, close = os.open, os.read, os.close
    flags = os.O_RDONLY | os.O_CLOEXEC
    for pid in pids:
        try:
            descriptor = open_(f"{pid}/stat", flags, dir_fd=root)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            procfs.refused += 1
            continue
        try:
            raw = read(descriptor, _STAT_BYTES)
        except ProcessLookupError:
            continue
        finally:
            close(descriptor)
        # The name ends at the last `)`; state is the letter two behind it.
        if raw.startswith(b"Z", raw.rfind(b")") + 2):
            try:
                stat = parse_stat(raw)
            except ProcFormatError:
                procfs.unparsable += 1
                continue
            if stat.is_zombie:
                yield stat


def child_of(
    procfs: ProcFs, stat: Stat, *, exit_boot_ns: int | None = None, forker: Forker | None = None
) -> Child:
    """Read the rest of a zombie; what cannot be read, or was reaped meanwhile, is None.

    Args:
        procfs: where.
        stat: of the zombie.
        exit_boot_ns: when it died, where that was seen.
        forker: the process that forked it, where that was seen.
    """
    try:
        status = procfs.status(stat.pid)
    except ProcFormatError:
        procfs.unparsable += 1
        status = None
    namespace = procfs.pid_namespace(stat.pid)
    # To readers without ptrace rights the kernel writes 0 in place of the exit status; who
    # may read the namespace link has them.
    exit_status = stat.exit_status if namespace is not None or stat.exit_status else None
    return Child(
        identity=Identity(stat.pid, stat.start_ticks),
        parent_pid=stat.ppid,
        start_boot_ns=stat.start_ticks * TICK_NS,
        exit_boot_ns=exit_boot_ns,
        exit_status=exit_status,
        vpid=status.vpid if status else None,
        pid_namespace=namespace,
        uid=status.uid if status else None,
        comm=stat.comm,
        forker=forker,
        tracer_pid=status.tracer_pid if status else None,
    )


def look(
    root: Path,
    died: Mapping[int, int],
    unpack: Callable[[ProcFs, Stat], Child],
) -> "StatSnapshot":
    """Scan for every zombie.

    Through a descriptor of its own: two threads that list a directory through the same one
    move each other's position in it.

    Args:
        root: of the proc file system.
        died: when each died, by pid, where that is known.
        unpack: reads the rest of one.
    """
    procfs, taken_boot_ns = ProcFs(root), boot_ns()
    try:
        stats = list(zombie_stats(procfs, procfs.pids()))
    except BaseException:
        procfs.close()
        raise
    return StatSnapshot(taken_boot_ns, stats, partial(unpack, procfs), died, procfs)


class StatSnapshot:
    """All zombies of one scan; of one that is asked for, the rest is read then.

    Args:
        taken_boot_ns: when the scan began.
        stats: of the zombies.
        unpack: reads the rest of one.
        died: when each died, by pid, where that is known.
        own_procfs: closed with the snapshot.
    """

    has_cgroups = False

    def __init__(
        self,
        taken_boot_ns: int,
        stats: Sequence[Stat],
        unpack: Callable[[Stat], Child],
        died: Mapping[int, int] = MappingProxyType({}),
        own_procfs: ProcFs | None = None,
    ) -> None:
        self.taken_boot_ns = taken_boot_ns
        self._stats = stats
        self._unpack = unpack
        self._died = died
        self._own_procfs = own_procfs

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield (pid, start_ticks, parent_pid, dead_since_boot_ns or 0) of each zombie."""
        for stat in self._stats:
            yield stat.pid, stat.start_ticks, stat.ppid, self._died.get(stat.pid, 0)

    def cgroup_keys(self) -> Iterator[CgroupKey]:
        """Yield the key of each zombie, without its cgroup: that is one more file to read."""
        return ((*key, 0, 0) for key in self.keys())

    def child(self, index: int) -> Child:
        """Read the rest of the zombie that keys() yielded at that place."""
        return self._unpack(self._stats[index])

    def __del__(self) -> None:
        if self._own_procfs is not None:
            self._own_procfs.close()
