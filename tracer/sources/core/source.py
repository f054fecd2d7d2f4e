"""The core source: the CO-RE program of bpf/, loaded with libbpf.

Its state lives in the kernel. poll() asks for what has stayed dead long enough,
so that thousands of children reaped at once cost Python nothing.
"""

import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import cast

from tracer.clock import NS, TICK_NS, boot_ns, ticks
from tracer.errors import PermanentError
from tracer.model import (
    Cgroup,
    CgroupKey,
    CgroupOrigin,
    Child,
    Forker,
    Gone,
    Identity,
    Losses,
    Observation,
    OriginKind,
    SnapshotKey,
    Waits,
)
from tracer.procfs.pidns import in_host_pid_namespace
from tracer.sources.core import wire
from tracer.sources.core.libbpf import BpfObject, Libbpf, Link, Map, RingBuffer, runner

MAP_ENTRIES = 65_536
"""Processes, living and dead, of which the kernel keeps a history (about 230 bytes each)."""

SETTLE_NS = NS // 10
"""After so long, a death that is still unreaped leaves the queue that every death passes."""

MAX_SLEEP_NS = NS
"""At least so often the queue of fresh deaths is looked at: it holds 65,536 of them."""

MAX_RUNS = 4096
"""Runs of the ageing program in one poll, for 64 deaths or 16 zombies each."""

BTF = Path("/sys/kernel/btf/vmlinux")

_HOOKS = ("on_fork", "on_exec", "on_exit", "on_free", "on_wait")
_READ_BYTES = 1 << 16
_CGROUPS_CACHED = 1024
_ORIGINS = {wire.ORIGIN_INIT: OriginKind.INIT, wire.ORIGIN_SETNS: OriginKind.SETNS}


def object_bytes(path: Path | None = None) -> bytes:
    """Return the BPF object: that file, or the one in the package.

    Raises:
        PermanentError: there is none.
    """
    try:
        if path is not None:
            return path.read_bytes()
        # importlib.resources would cost 20 ms of imports; we are never in a zip file.
        return (Path(__file__).parents[2] / "_objects/tracer.bpf.o").read_bytes()
    except OSError as error:
        raise PermanentError(
            f"the BPF object cannot be read ({error}); build it with `make setup`"
        ) from error


class CoreSource:
    """Sees every death through BPF. Implements records.Source."""

    name = "core"

    def __init__(
        self,
        *,
        min_age_ns: int,
        map_entries: int = MAP_ENTRIES,
        object_path: Path | None = None,
        hooks: bool = True,
    ) -> None:
        """Construct it.

        Args:
            min_age_ns: what is younger is not told.
            map_entries: processes of which a history is kept.
            object_path: another BPF object than the package's.
            hooks: attach the hooks; without them only snapshot() tells anything.
        """
        self.attached_boot_ns: int | None = None
        self._min_age_ns = min_age_ns
        self._map_entries = map_entries
        self._object_path = object_path
        self._hooks = _HOOKS if hooks else ()
        self._age_out: Callable[[], int] | None = None
        self._object: BpfObject | None = None
        self._ring: RingBuffer | None = None
        self._links: list[Link] = []
        self._next_poll_boot_ns = self._next_misses_boot_ns = 0
        self._missed = 0
        self._watched_fds: list[int] = []

    def start(self) -> None:
        """Load the object and attach its hooks.

        Raises:
            PermanentError: with what is missing and what to do.
        """
        content = object_bytes(self._object_path)
        if not BTF.exists():
            raise PermanentError(
                f"this kernel has no BTF ({BTF} is missing); use --source bcc or proc,"
                " or a kernel built with CONFIG_DEBUG_INFO_BTF"
            )
        libbpf = Libbpf()
        self._object = BpfObject(libbpf, content)
        try:
            self._attach(libbpf, self._object)
        except BaseException:
            self.close()
            raise

    def _attach(self, libbpf: Libbpf, bpf: BpfObject) -> None:
        for name in ("processes", "settled"):
            bpf.resize(name, self._map_entries)
        settle_ns = min(SETTLE_NS, self._min_age_ns)
        watching = bool(self._hooks)
        bpf.set_constants(wire.SETTINGS.pack(self._min_age_ns, settle_ns, TICK_NS, watching))
        if not self._hooks:
            for name in (*_HOOKS, "expire"):
                bpf.leave_out(name)
        bpf.load()
        self._processes = bpf.map("processes", wire.PROCESS.size)
        self._cgroups = CgroupNames(bpf.map("cgroups", wire.CGROUP_NAMES.size))
        processors = libbpf.calls.libbpf_num_possible_cpus()
        self._counters = bpf.map("counters", wire.COUNTERS.size * processors)
        self._ring = RingBuffer(libbpf, bpf.map("events", 0).fd)
        runner(libbpf, bpf.program_fd("init_pidns"))()
        self._keys = None if in_host_pid_namespace() else bpf.map("keys", 4)
        if self._hooks:
            self._age_out = runner(libbpf, bpf.program_fd("expire"))
            self._watched_fds = [bpf.program_fd(hook) for hook in ("on_exit", "on_free")]
        self._iterator = bpf.attach_iterator("zombies")
        self._links.append(self._iterator)
        self._iter_create = libbpf.calls.bpf_iter_create
        self._links.extend(bpf.attach(hook) for hook in self._hooks)
        self.attached_boot_ns = boot_ns() if self._hooks else None

    def fileno(self) -> int | None:
        """Return the ring buffer's descriptor: readable when a known zombie was reaped."""
        return None if self._ring is None else self._ring.fd()

    def next_poll_boot_ns(self, _now_boot_ns: int) -> int:
        """Return when the next death can reach the minimum age, at most a second away."""
        return self._next_poll_boot_ns

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Return children that reached the minimum age, and known ones that were reaped.

        Raises:
            PermanentError: the program can no longer be run or read.
        """
        ring = self._running()
        observations: list[Observation] = []
        if self._age_out is None:  # no hooks
            self._next_poll_boot_ns = now_boot_ns + MAX_SLEEP_NS
            return observations
        for _ in range(MAX_RUNS):
            wait_ms = self._age_out()
            # Between the runs, so that a flood does not fill the ring buffer.
            observations.extend(map(self._observation, ring.consume()))
            if wait_ms:
                break
        else:
            wait_ms = 1
        if now_boot_ns >= self._next_misses_boot_ns:
            self._next_misses_boot_ns = now_boot_ns + NS
            self._missed = sum(map(_misses, self._watched_fds))
        self._next_poll_boot_ns = now_boot_ns + min(wait_ms * 1_000_000, MAX_SLEEP_NS)
        return observations

    def _running(self) -> RingBuffer:
        if self._ring is None:
            raise PermanentError("the core source is not started")
        return self._ring

    def _observation(self, sample: bytes) -> Observation:
        if len(sample) >= wire.ZOMBIE.size:
            return self._child(wire.ZombieWire._make(wire.ZOMBIE.unpack_from(sample)))
        gone = wire.GoneWire._make(wire.GONE.unpack_from(sample))
        return Gone(Identity(gone.pid, ticks(gone.start_ns)), gone.gone_ns)

    def _child(self, raw: wire.ZombieWire) -> Child:
        path = self._cgroups.path(raw.cgroup_id, raw.cgroup_hierarchy)
        forker = None
        if raw.forker_pid:
            identity = Identity(raw.forker_pid, ticks(raw.forker_start_ns))
            forker = Forker(identity, wire.text(raw.forker_comm))
        return Child(
            identity=Identity(raw.pid, raw.start_ticks),
            parent_pid=raw.parent_pid,
            start_boot_ns=raw.start_ns,
            exit_boot_ns=raw.exit_ns or None,
            last_ran_boot_ns=None if raw.exit_ns else raw.dead_since_ns or None,
            exit_status=raw.exit_status,
            vpid=raw.vpid or None,
            pid_namespace=raw.pid_namespace or None,
            uid=raw.uid,
            comm=wire.text(raw.comm),
            exit_parent_pid=raw.exit_parent_pid or None,
            forker=forker,
            origin=_ORIGINS.get(raw.origin),
            origin_pid=raw.origin_pid or None,
            cgroup=None if path is None else Cgroup(path, CgroupOrigin.KERNEL),
            tracer_pid=raw.tracer_pid or None,
        )

    def snapshot(self) -> "CoreSnapshot":
        """Return every zombie of the minimum age, read while it is consumed.

        Younger ones whose death was seen are left to poll().
        """
        self._running()
        # Whoever finds an unseen death in it will ask what was lost: know it by then.
        self._next_misses_boot_ns = 0
        fd = self._iter_create(self._iterator.fd())
        if fd < 0:
            raise PermanentError(f"the task iterator cannot be opened: {os.strerror(-fd)}")
        return CoreSnapshot(fd, self._child)

    def losses(self) -> Losses:
        """Return what the kernel counted as lost."""
        counters = self._count()
        return Losses(
            map_full=counters.map_full,
            queue_full=counters.queue_full,
            ring_full=counters.ring_full,
            recursion_misses=self._missed,
            forks_lost=counters.forks_lost,
        )

    def exits(self) -> int | None:
        """Return the number of processes that died since start()."""
        return self._count().exits

    def _count(self) -> wire.CountersWire:
        self._running()
        raw = self._counters.lookup(b"\0\0\0\0")
        if raw is None:
            raise PermanentError("the counters of the BPF program cannot be read")
        columns = zip(*wire.COUNTERS.iter_unpack(raw), strict=True)
        return wire.CountersWire._make(map(sum, columns))

    def _process(self, identity: Identity) -> wire.ProcessWire | None:
        self._running()
        key: bytes | None = identity.pid.to_bytes(4, sys.byteorder)
        if key is not None and self._keys is not None:
            key = self._keys.lookup(key)
        if key is None:
            return None
        raw = self._processes.lookup(key)
        if raw is None:
            return None
        process = wire.ProcessWire._make(wire.PROCESS.unpack(raw))
        return process if ticks(process.start_ns) == identity.start_ticks else None

    def waits(self, identity: Identity) -> Waits | None:
        """Return how that process waited since we attached, or since its start if later."""
        if self.attached_boot_ns is None:  # no hooks
            return None
        process = self._process(identity)
        if process is None:
            # No entry: it is older than us and has not waited, or the map was full.
            if self.losses().forks_lost:
                return None
            return Waits(0, 0, None, None, None, 0, 0, 0, self.attached_boot_ns)
        return Waits(
            any=process.waits_any,
            specific=process.waits_specific,
            last_boot_ns=process.last_wait_ns or None,
            last_any_boot_ns=process.last_wait_any_ns or None,
            last_specific_pid=process.last_wait_pid or None,
            reaped=process.reaped,
            reaped_late=process.reaped_late,
            reaped_late_ns=process.reaped_late_ns,
            watched_since_boot_ns=max(self.attached_boot_ns, process.start_ns, process.exec_ns),
            exec_boot_ns=process.exec_ns or None,
        )

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that living process, if that happened since we attached."""
        process = self._process(identity)
        if process is None or not process.forker_pid:
            return None
        forker = Identity(process.forker_pid, ticks(process.forker_start_ns))
        return Forker(forker, wire.text(process.forker_comm))

    def close(self) -> None:
        """Detach everything. A second call does nothing."""
        for link in self._links:
            link.destroy()
        self._links.clear()
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        if self._object is not None:
            self._object.close()
            self._object = None
        self.attached_boot_ns = None


def _misses(program_fd: int) -> int:
    """Return how often the kernel skipped a program because another run of it was under way.

    Where tracepoints can be preempted (seen on 7.2) a hook can be interrupted, and
    what happens on its processor meanwhile is not seen. proc(5) does not describe
    the line: bpf_prog_show_fdinfo(), kernel/bpf/syscall.c, Linux 5.12.
    """
    try:
        text = Path(f"/proc/self/fdinfo/{program_fd}").read_text()
    except OSError:  # out of descriptors: the minute's snapshot makes up for it
        return 0
    found = re.search(r"^recursion_misses:\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


class CoreSnapshot:
    """Zombies from the task iterator. Implements records.Snapshot.

    Only one chunk of the kernel's records is held at a time: a million of them
    would be 122 MB.
    """

    has_cgroups = True

    def __init__(self, fd: int, make_child: Callable[[wire.ZombieWire], Child]) -> None:
        self.taken_boot_ns = boot_ns()
        self._fd: int | None = fd
        self._make_child = make_child
        self._chunk = b""
        self._chunk_start = 0

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield (pid, start_ticks, parent_pid, dead_since_boot_ns) of each zombie.

        Without Python code for each of them, which would double the cost.
        """
        chunks = cast("Iterator[Iterator[SnapshotKey]]", self._chunks(wire.ZOMBIE_KEYS))
        return chain.from_iterable(chunks)

    def cgroup_keys(self) -> Iterator[CgroupKey]:
        """Yield the same with the id of its cgroup and of that cgroup's hierarchy."""
        chunks = cast("Iterator[Iterator[CgroupKey]]", self._chunks(wire.ZOMBIE_CGROUP_KEYS))
        return chain.from_iterable(chunks)

    def _chunks(self, layout: Struct) -> Iterator[Iterator[tuple[int, ...]]]:
        """Yield the keys of one read at a time."""
        if self._fd is None:
            raise ValueError("a snapshot can be read once")
        fd, self._fd = self._fd, None
        size = wire.ZOMBIE.size
        rest = b""
        try:
            while data := os.read(fd, _READ_BYTES):
                data = rest + data if rest else data
                whole = len(data) // size * size
                self._chunk, rest = data[:whole], data[whole:]
                yield layout.iter_unpack(self._chunk)
                self._chunk_start += whole // size
        except OSError as error:
            raise PermanentError(f"the task iterator cannot be read: {error.strerror}") from error
        finally:
            os.close(fd)

    def child(self, index: int) -> Child:
        """Unpack the zombie that keys() yielded last."""
        offset = (index - self._chunk_start) * wire.ZOMBIE.size
        raw = wire.ZOMBIE.unpack_from(self._chunk, offset)
        return self._make_child(wire.ZombieWire._make(raw))

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


class CgroupNames:
    """Paths of cgroups by id, from the kernel's map of their names."""

    def __init__(self, names: Map) -> None:
        self._names = names
        self._paths: OrderedDict[tuple[int, int], str] = OrderedDict()

    def path(self, cgroup_id: int, hierarchy: int) -> str | None:
        """Return the path from the hierarchy's root; None when it is not known.

        Of a path deeper than 16 levels the first 16 are returned: whose a cgroup
        is stands there.
        """
        if not cgroup_id:
            return None
        key = cgroup_id, hierarchy
        path = self._paths.get(key)
        if path is not None:
            return path
        raw = self._names.lookup(wire.CGROUP_KEY.pack(cgroup_id, hierarchy))
        if raw is None:
            return None
        level, *names = wire.CGROUP_NAMES.unpack(raw)
        path = "/" + "/".join(wire.text(name) for name in names[: min(level, wire.CGROUP_LEVELS)])
        self._paths[key] = path
        if len(self._paths) > _CGROUPS_CACHED:
            self._paths.popitem(last=False)
        return path
