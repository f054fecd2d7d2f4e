"""The core source: the CO-RE program of bpf/, loaded with libbpf.

Its state is in the kernel. poll() asks for what has stayed dead for the minimum age,
so that thousands of children reaped at once cost Python nothing.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from tracer.clock import NS, TICK_NS, boot_ns
from tracer.errors import PermanentError
from tracer.model import BlockedWait, Child, Forker, Identity, Losses, Observation, Waits
from tracer.procfs.pidns import in_host_pid_namespace
from tracer.sources.core import wire
from tracer.sources.core.blocked_waits import WaitQueues
from tracer.sources.core.bpf_object import BpfObject, Link, Run, runner, runner_with
from tracer.sources.core.cgroup_names import CgroupNames
from tracer.sources.core.history import Processes, forker_of, waits_of
from tracer.sources.core.libbpf import Libbpf
from tracer.sources.core.maps import Map, RingBuffer
from tracer.sources.core.records import Records
from tracer.sources.core.snapshot import CoreSnapshot
from tracer.sources.failures import failure
from tracer.sources.skipped_runs import SkippedRuns, read_fdinfo

MAP_ENTRIES = 65_536
"""Processes, living and dead, of which the kernel keeps a history (about 240 bytes each)."""

SETTLE_NS = NS // 10
"""After so long, a death that is still unreaped leaves the queue that every death passes."""

RECHECK_NS = 10 * NS
"""A reported zombie is checked so often, in case the kernel does not announce its release.

So late at most, such a zombie is reported as reaped, and so much too long is its lifetime."""

MAX_SLEEP_NS = NS
"""The queue of new deaths is checked at least so often: it has room for 65,536 of them."""

_DEATHS_SLEEP_NS = MAX_SLEEP_NS // 2
"""So often while deaths wait in it: a killed agent leaves those that were taken from it."""

_IDLE_MS = 0x7FFFFFFF
"""What the ageing program returns when no death waits anywhere (bpf/ageing.h)."""

MAX_RUNS = 4096
"""Runs of the ageing program in one poll, for up to 64 deaths each."""

BTF = Path("/sys/kernel/btf/vmlinux")

_SETTINGS = ".data.settings"

HOOKS = ("on_fork", "on_exec", "on_exit", "on_free", "on_wait")


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
    """Sees every death through BPF. Implements model.Source."""

    name = "core"

    def __init__(
        self,
        *,
        min_age_ns: int,
        map_entries: int = MAP_ENTRIES,
        object_path: Path | None = None,
        hooks: bool = True,
        recheck_ns: int = RECHECK_NS,
        read_fdinfo: Callable[[int], bytes] = read_fdinfo,
    ) -> None:
        """Construct it.

        Args:
            min_age_ns: younger zombies are not reported.
            map_entries: processes of which a history is kept.
            object_path: another BPF object than the package's.
            hooks: attach the hooks; without them only snapshot() returns zombies.
            recheck_ns: how often a reported zombie is checked.
            read_fdinfo: returns what /proc says of a descriptor of this process.
        """
        self.attached_boot_ns: int | None = None
        self._min_age_ns = min_age_ns
        self._map_entries = map_entries
        self._object_path = object_path
        self._recheck_ns = recheck_ns
        self._hooks = HOOKS if hooks else ()
        self._expire: Run | None = None
        self._object: BpfObject | None = None
        self._ring: RingBuffer | None = None
        self._links: list[Link] = []
        self._next_poll_boot_ns = 0
        self._read_fdinfo = read_fdinfo
        self._skipped = SkippedRuns({})
        self._closing = threading.Lock()
        """Held by close(), and by calls of other threads on what it frees."""
        self._looking = threading.Lock()
        """Held while the look program runs: it has one scratch entry."""

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
            self._load(self._object)
            self._open_maps(libbpf, self._object)
            self._attach(libbpf, self._object)
        except BaseException:
            self.close()
            raise

    def _load(self, bpf: BpfObject) -> None:
        self._same_pids = in_host_pid_namespace()
        for name in ("processes", "aged", "known"):
            bpf.resize(name, self._map_entries)
        bpf.resize("host_pids", 1 if self._same_pids else self._map_entries)
        settle_ns = min(SETTLE_NS, self._min_age_ns)
        constants = settle_ns, self._recheck_ns, TICK_NS
        bpf.set_variables(".rodata", wire.CONSTANTS.pack(*constants))
        bpf.set_variables(_SETTINGS, wire.SETTINGS.pack(self._min_age_ns))
        if not self._hooks:
            for name in (*HOOKS, "expire", "zombies"):
                bpf.leave_out(name)
        bpf.load()

    def _open_maps(self, libbpf: Libbpf, bpf: BpfObject) -> None:
        host_pids = None if self._same_pids else bpf.map("host_pids", wire.HOST_PID.size)
        self._processes = Processes(bpf.map("processes", wire.PROCESS.size), host_pids)
        self._records = Records(CgroupNames(bpf.map("cgroups", wire.CGROUP_NAMES.size)))
        processors = libbpf.calls.libbpf_num_possible_cpus()
        self._counters: Map = bpf.map("counters", wire.COUNTERS.size * processors)
        self._settings = bpf.map(_SETTINGS, wire.SETTINGS.size)
        self._ring = RingBuffer(libbpf, bpf.map("events", 0).fd)

    def _attach(self, libbpf: Libbpf, bpf: BpfObject) -> None:
        runner(libbpf, bpf.program_fd("init_pidns"))()
        self._wait_queues = WaitQueues(
            runner_with(libbpf, bpf.program_fd("read_waits")),
            bpf.map("blocked", wire.BLOCKED.size * wire.MAX_WAITS),
        )
        if self._hooks:
            self._expire = runner(libbpf, bpf.program_fd("expire"))
            self._skipped = SkippedRuns(
                {hook: bpf.program_fd(hook) for hook in HOOKS}, self._read_fdinfo
            )
            self._snapshots = bpf.attach_iterator("zombies")
            self._links.append(self._snapshots)
        self._looks = bpf.attach_iterator("look")
        self._links.append(self._looks)
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
            TemporaryError, PermanentError: the program could not be run or read.
        """
        ring = self._running()
        observations: list[Observation] = []
        if self._expire is None:  # no hooks
            self._next_poll_boot_ns = now_boot_ns + MAX_SLEEP_NS
            return observations
        for _ in range(MAX_RUNS):
            wait_ms = self._expire()
            # Between the runs, so that a storm does not fill the ring buffer.
            observations += self._records.observations(ring.consume())
            if wait_ms:
                break
        else:
            wait_ms = 1
        self._skipped.update(now_boot_ns)
        longest_ns = MAX_SLEEP_NS if wait_ms == _IDLE_MS else _DEATHS_SLEEP_NS
        self._next_poll_boot_ns = now_boot_ns + min(wait_ms * 1_000_000, longest_ns)
        return observations

    def set_min_age(self, min_age_ns: int) -> None:
        """Have poll() report children from that age on.

        Raises:
            TemporaryError, PermanentError: the program's settings could not be changed.
        """
        self._running()
        self._settings.update(wire.FIRST, wire.SETTINGS.pack(min_age_ns))
        self._min_age_ns = min_age_ns
        self._next_poll_boot_ns = 0

    def _running(self) -> RingBuffer:
        if self._ring is None:
            raise PermanentError("the core source is not started")
        return self._ring

    def young(self, now_boot_ns: int) -> Sequence[Child]:
        """Return zombies of 0.1 s up to the minimum age, as they were then."""
        return self._records.young.since(now_boot_ns - self._min_age_ns)

    def snapshot(self) -> CoreSnapshot:
        """Return every zombie of the minimum age, read while it is consumed.

        Younger ones whose death was seen are left to poll().

        Raises:
            TemporaryError, PermanentError: the task iterator could not be opened.
        """
        if not self._hooks:
            return self.look()
        self._running()
        # Whoever finds an unseen death in it will ask what was lost: know it by then.
        self._skipped.expire()
        return CoreSnapshot(self._iterate(self._snapshots), self._records.child, nullcontext())

    def look(self) -> CoreSnapshot:
        """Return every zombie of any age, read while it is consumed; changes nothing.

        Raises:
            TemporaryError, PermanentError: the task iterator could not be opened.
        """
        with self._closing:
            self._running()
            fd = self._iterate(self._looks)
        return CoreSnapshot(fd, self._records.child, self._looking)

    def _iterate(self, link: Link) -> int:
        fd = int(self._iter_create(link.fd()))
        if fd < 0:
            raise failure("the task iterator cannot be opened", -fd)
        return fd

    def losses(self) -> Losses:
        """Return what the kernel counted as lost."""
        counters, skipped = self._count(), self._skipped
        return Losses(
            map_full=counters.map_full,
            queue_full=counters.queue_full,
            ring_full=counters.ring_full,
            recursion_misses=skipped.count("on_exit", "on_free"),
            parse_errors=self._records.parse_errors,
            forks_lost=counters.forks_lost + skipped.count("on_fork"),
            waits_lost=counters.waits_lost,
            waits_skipped=skipped.count("on_wait", "on_exec"),
            releases_missed=counters.releases_missed,
            cgroup_names_lost=counters.names_lost,
        )

    def exits(self) -> int | None:
        """Return the number of processes that died since start()."""
        return self._count().exits

    def _count(self) -> wire.CountersWire:
        self._running()
        raw = self._counters.lookup(wire.FIRST)
        if raw is None:
            raise PermanentError("the counters of the BPF program cannot be read")
        columns = zip(*wire.COUNTERS.iter_unpack(raw), strict=True)
        return wire.CountersWire._make(map(sum, columns))

    def waits(self, identity: Identity) -> Waits | None:
        """Return how that process waited since we attached, or since its start if later.

        Raises:
            TemporaryError, PermanentError: the kernel's map could not be read.
        """
        if self.attached_boot_ns is None:  # no hooks
            return None
        self._running()
        process = self._processes.get(identity)
        if process is None and self._count().waits_lost:
            return None  # older than us and has not waited, or its waits found no room
        return waits_of(process, self.attached_boot_ns)

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that living process, if that happened since we attached.

        Raises:
            TemporaryError, PermanentError: the kernel's map could not be read.
        """
        self._running()
        process = self._processes.get(identity)
        return None if process is None else forker_of(process)

    def blocked_waits(self, identity: Identity) -> tuple[BlockedWait, ...] | None:
        """Return the wait calls in which threads of that process are now; None when unreadable.

        Raises:
            TemporaryError, PermanentError: the program could not be run.
        """
        with self._closing:
            self._running()
            return self._wait_queues.read(identity)

    def close(self) -> None:
        """Detach everything. A second call does nothing."""
        with self._closing:
            self._close()

    def _close(self) -> None:
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
