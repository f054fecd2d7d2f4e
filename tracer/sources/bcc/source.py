"""The bcc source, for kernels without BTF: a header-free program, the rest from /proc.

The program (zombie.c) keeps in the kernel when processes died and who forked them. Only of
those that have been dead for the minimum age, user space reads /proc: whether the whole process
is dead, its parent, start time and exit code.
"""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError
from tracer.model import (
    BlockedWait,
    Child,
    Forker,
    Identity,
    Losses,
    Observation,
    Snapshot,
    Waits,
)
from tracer.procfs.fs import ProcFs, Stat
from tracer.sources.bcc import load
from tracer.sources.bcc.ancestry import Ancestry
from tracer.sources.bcc.load import Program
from tracer.sources.bcc.reported import Reported
from tracer.sources.proc import scan
from tracer.sources.proc.scan import StatSnapshot, child_of, zombie_stats
from tracer.sources.skipped_runs import read_fdinfo

MAP_ENTRIES = 131_072
"""Tasks alive at once, threads included, whose forker is remembered (100 bytes each)."""
_REPORTED_ENTRIES = 1 << 20
_HOST_PID_NAMESPACE = 4026531836
"""PROC_PID_INIT_INO, include/linux/proc_ns.h."""
_SHARE_OF_A_CORE = 0.05
_SHORTEST_PAUSE_NS = NS // 20
_LONGEST_CHOSEN_PAUSE_NS = NS // 4
_GONE_AT_ONCE = 20_000
_RECHECKED = 2_000
"""Known zombies read again when the kernel skipped a free hook; all are in a snapshot."""
_LONGEST_UNTIL_NEXT_LOOK_NS = 60 * NS


class _Look(NamedTuple):
    """A process that lost a thread at exit_ns and is not dead; when to look at it again."""

    exit_ns: int
    again_boot_ns: int


def _pause_ns(min_age_ns: int) -> int:
    return min(max(min_age_ns // 10, _SHORTEST_PAUSE_NS), _LONGEST_CHOSEN_PAUSE_NS)


class BccSource:
    """Sees deaths and forks by a bcc program, everything else in /proc.

    Args:
        procfs: the host's.
        min_age_ns: the age from which a child is a candidate.
        map_entries: tasks alive at once whose forker is remembered.
        read_fdinfo: returns what /proc says of a descriptor of this process.
    """

    name = "bcc"

    def __init__(
        self,
        procfs: ProcFs,
        min_age_ns: int,
        map_entries: int = MAP_ENTRIES,
        read_fdinfo: Callable[[int], bytes] = read_fdinfo,
    ) -> None:
        self.attached_boot_ns: int | None = None
        self._procfs = procfs
        self._min_age_ns = min_age_ns
        self._map_entries = map_entries
        self._read_fdinfo = read_fdinfo
        self._pause_ns = _pause_ns(min_age_ns)
        self._program: Program | None = None
        self._offset_ns = 0
        self._ancestry: Ancestry | None = None
        self._reported: Reported | None = None
        self._living: dict[int, _Look] = {}
        self._found: list[Observation] = []
        self._next_boot_ns = 0
        self._skipped_frees = 0
        self._closing = threading.Lock()
        """Held by close(), and by calls of other threads on what it frees."""

    def start(self) -> None:
        """Compile and attach the program.

        Raises:
            PermanentError: with what is missing and what to do.
        """
        # The program sees the host's pids; in another namespace's /proc they name others.
        if self._procfs.pid_namespace(1) not in {None, _HOST_PID_NAMESPACE}:
            raise PermanentError(
                f"{self._procfs.root} shows another pid namespace than the host's, and BPF sees "
                "the host's pids; run in the host's pid namespace (hostPID: true in the pod's "
                "spec), or mount the host's /proc and name it with --proc-root"
            )
        reported = min(self._procfs.pid_max() or _REPORTED_ENTRIES, _REPORTED_ENTRIES)
        self._program = load.load(self._map_entries, reported, read_fdinfo=self._read_fdinfo)
        if self._program.monotonic:
            self._offset_ns = boot_ns() - time.monotonic_ns()
        self.attached_boot_ns = boot_ns()
        self._reported = Reported(self._program, self._procfs, self._offset_ns)
        self._ancestry = Ancestry(
            self._program, self._procfs, self._offset_ns, self.attached_boot_ns
        )

    def fileno(self) -> int | None:
        """Return None: the state is asked for, not sent."""
        return None

    def next_poll_boot_ns(self, now_boot_ns: int) -> int:  # noqa: ARG002 - part of the contract
        """Return when the state is to be asked for."""
        return self._next_boot_ns

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Return children that reached the minimum age, and known ones that were reaped.

        Raises:
            TemporaryError, PermanentError: the program could not be read.
        """
        program, reported = self._running()
        program.skipped.update(now_boot_ns)
        if now_boot_ns >= self._next_boot_ns:
            self._check_deaths(program, reported, now_boot_ns)
        self._found += reported.gone(_GONE_AT_ONCE)
        found, self._found = self._found, []
        return found

    def set_min_age(self, min_age_ns: int) -> None:
        """Have poll() report children from that age on."""
        self._min_age_ns = min_age_ns
        self._pause_ns = _pause_ns(min_age_ns)
        self._next_boot_ns = 0

    def _check_deaths(self, program: Program, reported: Reported, now_boot_ns: int) -> None:
        """Find what reached the minimum age; the pause until the next time bounds the cost."""
        began_ns = time.thread_time_ns()
        latest = now_boot_ns - self._min_age_ns - self._offset_ns
        aged = {pid: exit_ns for pid, exit_ns in program.deaths.items() if exit_ns <= latest}
        self._living = {pid: look for pid, look in self._living.items() if pid in aged}
        for pid, exit_ns in aged.items():
            look = self._living.get(pid)
            if look is None or look.exit_ns != exit_ns or look.again_boot_ns <= now_boot_ns:
                self._check_death(program, reported, pid, exit_ns, now_boot_ns)
        skipped = program.skipped.count("free")
        if skipped != self._skipped_frees:
            self._skipped_frees = skipped
            for pid, _, _ in itertools.islice(program.reported.items(), _RECHECKED):
                self._drop_if_gone(reported, pid)
        used_ns = time.thread_time_ns() - began_ns
        self._next_boot_ns = boot_ns() + max(self._pause_ns, int(used_ns / _SHARE_OF_A_CORE))

    def _running(self) -> tuple[Program, Reported]:
        if self._program is None or self._reported is None:
            raise PermanentError("the bcc program is not attached; start() it first")
        return self._program, self._reported

    def _check_death(
        self, program: Program, reported: Reported, pid: int, exit_ns: int, now_boot_ns: int
    ) -> None:
        """Report the process that lost a thread long ago, if /proc says that it is dead."""
        stat = self._procfs.stat(pid)
        if stat is None:
            # Freed, and the free hook was skipped.
            program.deaths.delete(pid)
            program.births.delete(pid)
        elif not stat.is_zombie:
            # It lives on without that thread, or takes its time to die (a large memory): the
            # entry stays, and it is checked again, less and less often.
            dead_ns = now_boot_ns - self._offset_ns - exit_ns
            again = now_boot_ns + min(dead_ns, _LONGEST_UNTIL_NEXT_LOOK_NS)
            self._living[pid] = _Look(exit_ns, again)
        elif (watched := reported.watch(stat)) is not None:
            self._found.append(self._unpack(watched))

    def _unpack(self, stat: Stat) -> Child:
        return self._unpack_with(self._procfs, stat)

    def _unpack_with(self, procfs: ProcFs, stat: Stat) -> Child:
        with self._closing:
            _, reported = self._running()
            exit_ns = reported.exit_ns(stat)
        return child_of(
            procfs,
            stat,
            exit_boot_ns=None if exit_ns is None else exit_ns + self._offset_ns,
            forker=self.forker(Identity(stat.pid, stat.start_ticks)),
        )

    def _drop_if_gone(self, reported: Reported, pid: int) -> None:
        gone = reported.drop_if_gone(pid)
        if gone is not None:
            self._found.append(gone)

    def young(self, now_boot_ns: int) -> Sequence[Child]:  # noqa: ARG002 - part of the contract
        """Return nothing: zombies below the minimum age are not followed."""
        return ()

    def snapshot(self) -> Snapshot:
        """Read every zombie's stat in /proc. What is new in it, poll() does not return again.

        Those whose death was seen and who are younger than the minimum age are left to poll():
        most of them will be reaped in time.

        Raises:
            TemporaryError, PermanentError: the program could not be read.
        """
        program, reported = self._running()
        program.skipped.expire()
        taken_boot_ns = boot_ns()
        latest = taken_boot_ns - self._min_age_ns - self._offset_ns
        young = {pid for pid, exit_ns in program.deaths.items() if exit_ns > latest}
        stats = list(zombie_stats(self._procfs, set(self._procfs.pids()) - young))
        known = {pid: start_ticks for pid, _, start_ticks in program.reported.items()}
        # One that died while the others were read is young as well.
        stats = [
            stat
            for stat in stats
            if known.pop(stat.pid, None) == stat.start_ticks
            or ((reported.exit_ns(stat) or 0) <= latest and reported.watch(stat))
        ]
        for pid in known:
            self._drop_if_gone(reported, pid)
        died = {
            pid: exit_ns + self._offset_ns
            for pid, exit_ns, _ in program.reported.items()
            if exit_ns
        }
        return StatSnapshot(taken_boot_ns, stats, self._unpack, died)

    def look(self) -> Snapshot:
        """Read every zombie's stat in /proc, without an effect on what the others return.

        Raises:
            TemporaryError, PermanentError: the program could not be read.
        """
        with self._closing:
            program, _ = self._running()
            deaths = [*program.deaths.items(), *(one[:2] for one in program.reported.items())]
        died = {pid: exit_ns + self._offset_ns for pid, exit_ns in deaths if exit_ns}
        return scan.look(self._procfs.root, died, self._unpack_with)

    def losses(self) -> Losses:
        """Return what found no room in the program's maps, and the hooks that were skipped."""
        program, reported = self._running()
        counters, skipped = program.counters, program.skipped
        return Losses(
            map_full=counters.sum(load.DEATHS_FULL) + reported.no_room,
            ring_full=counters.sum(load.GONE_FULL),
            # Skipped frees are not lost: _check_deaths() finds what they would have reported.
            recursion_misses=skipped.count("exit"),
            parse_errors=self._procfs.unparsable,
            forks_lost=counters.sum(load.BIRTHS_FULL) + skipped.count("fork"),
            waits_lost=counters.sum(load.WAITS_FULL),
            waits_skipped=skipped.count("wait"),
        )

    def exits(self) -> int | None:
        """Return the number of processes that died; before Linux 6.16, of their leaders."""
        program, _ = self._running()
        return program.counters.sum(load.EXITS)

    def waits(self, identity: Identity) -> Waits | None:
        """Return how a process waited; its reaped children are counted where it forked them."""
        with self._closing:
            self._running()
            return None if self._ancestry is None else self._ancestry.waits(identity)

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that process; None when it was forked before start()."""
        with self._closing:
            self._running()
            return None if self._ancestry is None else self._ancestry.forker(identity)

    def blocked_waits(self, identity: Identity) -> tuple[BlockedWait, ...] | None:  # noqa: ARG002 - part of the contract
        """Return None: only /proc/PID/syscall shows them."""
        return None

    def close(self) -> None:
        """Detach."""
        with self._closing:
            if self._program is not None:
                self._program.bpf.cleanup()
                self._program = None
        self._procfs.close()
