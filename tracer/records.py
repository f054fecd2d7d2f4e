"""What crosses the boundaries between source, table, enrichment and sinks.

Everything here is immutable. Times are CLOCK_BOOTTIME nanoseconds (`*_boot_ns`),
durations in nanoseconds (`*_ns`) or seconds (`*_seconds`). Unknown is None, never 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol


class Identity(NamedTuple):
    """A process for all time: a pid alone is reused, a pid with its start is not.

    Attributes:
        pid: in the pid namespace of /proc (the host's).
        start_ticks: start time in clock ticks since boot, as in /proc/PID/stat
            field 22. Ticks, so that all sources and a restarted agent agree.
    """

    pid: int
    start_ticks: int


class OriginKind(StrEnum):
    """How the line of forks that led to a process began in its pid namespace."""

    INIT = "init"
    """It descends from the pid 1 of its pid namespace."""
    ENTERED = "entered"
    """It descends from a process that entered the namespace from outside (nsenter, exec)."""


class Forker(NamedTuple):
    """The process that called fork, vfork or clone; with CLONE_PARENT it is not the parent."""

    identity: Identity
    comm: str | None


class CgroupOrigin(StrEnum):
    """Where the cgroup of a zombie was read."""

    KERNEL = "kernel"
    """From the task itself by the BPF program: depends on no namespace."""
    ZOMBIE = "zombie"
    """From the zombie's own /proc/PID/cgroup."""
    PARENT = "parent"
    """From its living parent's /proc/PID/cgroup."""


class Cgroup(NamedTuple):
    """A cgroup path and where it was read."""

    path: str
    origin: CgroupOrigin


@dataclass(frozen=True, slots=True)
class Child:
    """A dead, unreaped child as a source sees it.

    Attributes:
        identity: who it is.
        parent_pid: its parent now, in the host's pid namespace.
        start_boot_ns: when it started (from /proc: exact to one tick).
        exit_boot_ns: when it died; None when nobody watched.
        last_ran_boot_ns: when it last had a processor, by the scheduler's clock: where
            exit_boot_ns is None it died about then, and the age from it is a lower bound
            to within a time slice. None where the kernel does not tell.
        exit_status: as wait(2) would return it (code << 8 | core << 7 | signal).
        vpid: its pid in its own pid namespace.
        pid_namespace: inode number of that namespace.
        uid: real user id in the initial user namespace.
        comm: its name, decoded as UTF-8 with backslash escapes for other bytes.
        exit_parent_pid: its parent when it died.
        forker: who forked it.
        origin: how its line began in its pid namespace.
        origin_pid: the process with which that line began.
        cgroup: its cgroup, where the source itself knows it.
        tracer_pid: who ptraces it, None when nobody does.
    """

    identity: Identity
    parent_pid: int
    start_boot_ns: int
    exit_boot_ns: int | None = None
    last_ran_boot_ns: int | None = None
    exit_status: int | None = None
    vpid: int | None = None
    pid_namespace: int | None = None
    uid: int | None = None
    comm: str | None = None
    exit_parent_pid: int | None = None
    forker: Forker | None = None
    origin: OriginKind | None = None
    origin_pid: int | None = None
    cgroup: Cgroup | None = None
    tracer_pid: int | None = None

    @property
    def dead_since_boot_ns(self) -> int | None:
        """When it died: seen, or else inferred from when it last ran."""
        return self.last_ran_boot_ns if self.exit_boot_ns is None else self.exit_boot_ns


class Gone(NamedTuple):
    """A dead child that was reaped."""

    identity: Identity
    gone_boot_ns: int


SnapshotKey = tuple[int, int, int, int]
"""(pid, start_ticks, parent_pid, dead_since_boot_ns or 0): a plain tuple, made by the million."""


class Snapshot(Protocol):
    """All zombies at one moment, cheap to compare and only in part worth unpacking.

    It may be read from the kernel while keys() is consumed, so it is good for one pass.
    """

    taken_boot_ns: int
    """When reading began: what died later may be missing."""

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield the key of each zombie."""

    def child(self, index: int) -> Child:
        """Unpack the zombie that keys() yielded last, at that place (0 for the first)."""


class ListSnapshot:
    """A snapshot of children that are unpacked already."""

    def __init__(self, taken_boot_ns: int, children: Sequence[Child]) -> None:
        self.taken_boot_ns = taken_boot_ns
        self._children = children

    def __len__(self) -> int:
        return len(self._children)

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield the key of each zombie."""
        for child in self._children:
            yield *child.identity, child.parent_pid, child.dead_since_boot_ns or 0

    def child(self, index: int) -> Child:
        """Return the zombie that keys() yielded at that place."""
        return self._children[index]


Observation = Child | Gone
"""What a source reports between snapshots."""


class Waits(NamedTuple):
    """How a process has waited for children since the source attached (BPF sources only).

    Counted anew from its exec: how another program waited before it says nothing of this one.

    Attributes:
        any: calls that wait for any child (wait, waitpid(-1), waitid(P_ALL)).
        specific: calls that wait for one pid or one process group.
        last_boot_ns: the newest of either.
        last_any_boot_ns: the newest for any child.
        last_specific_pid: whom the newest specific call asked for, host pid.
        reaped: children of it that were reaped.
        reaped_late: those of them that had been dead for over a second.
        reaped_late_ns: sum of the times those had been dead.
        watched_since_boot_ns: since when this could be seen.
        exec_boot_ns: its newest exec, when that was seen; children that are older were
            forked by another program.
    """

    any: int
    specific: int
    last_boot_ns: int | None
    last_any_boot_ns: int | None
    last_specific_pid: int | None
    reaped: int
    reaped_late: int
    reaped_late_ns: int
    watched_since_boot_ns: int
    exec_boot_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Process:
    """A living process as /proc shows it: a zombie's parent, tracer or forker.

    Attributes:
        identity: who it is.
        comm: its name.
        state: the letter in /proc/PID/stat (R, S, D, T, t, Z, X, I).
        parent_pid: its own parent.
        vpid: its pid in its own pid namespace; 1 means it is that namespace's init.
        path: its executable; None without ptrace rights or when it has none.
        session: session id, host pid namespace.
        group: process group id, host pid namespace.
        threads: number of threads.
        pid_namespace: inode number of its pid namespace.
        uid: real user id.
        tracer_pid: who ptraces it.
        sigchld_ignored, sigchld_caught, sigchld_blocked: its disposition of SIGCHLD.
        frozen: its cgroup is frozen.
        threads_uninterruptible: threads of it in state D.
        blocked_wait: it is inside a wait call now: the pid waited for, -1 for any child.
        cgroup_path: its cgroup.
        arguments: its command line, only for deciding what kind of program it is.
    """

    identity: Identity
    comm: str
    state: str
    parent_pid: int
    vpid: int | None = None
    path: str | None = None
    session: int | None = None
    group: int | None = None
    threads: int = 1
    pid_namespace: int | None = None
    uid: int | None = None
    tracer_pid: int | None = None
    sigchld_ignored: bool | None = None
    sigchld_caught: bool | None = None
    sigchld_blocked: bool | None = None
    frozen: bool | None = None
    threads_uninterruptible: int = 0
    blocked_wait: int | None = None
    cgroup_path: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def is_init(self) -> bool | None:
        """Whether it is the pid 1 of its pid namespace."""
        return None if self.vpid is None else self.vpid == 1


@dataclass(frozen=True, slots=True)
class Container:
    """The container that a cgroup path names.

    Attributes:
        id: 64 hexadecimal digits; None where the path names only a pod.
        runtime: containerd, cri-o, docker, podman; None when the path does not say.
        pod_uid: from the path, with dashes; None outside Kubernetes.
        config_hash: in place of the UID for a static pod (32 hexadecimal digits).
    """

    id: str | None
    runtime: str | None = None
    pod_uid: str | None = None
    config_hash: str | None = None


class WorkloadSource(StrEnum):
    """Where names of pods came from."""

    API = "api"
    NODE_LOGS = "node_logs"


class Owner(NamedTuple):
    """The controller of a pod, as far as its ownerReferences name it."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe or lifecycle hook of a container that runs a command in it."""

    kind: str
    command: tuple[str, ...]
    period_seconds: int | None
    timeout_seconds: int | None


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod and, where known, one container of it.

    Attributes:
        namespace, pod, pod_uid: names of the pod.
        container: the container's name in the pod.
        image: its image, as the pod's status or spec names it.
        restart_count: of the container.
        owner: Deployment, StatefulSet, Job or another kind; None for a bare pod.
        labels: of the pod, for -l; never a metric.
        share_process_namespace: the pod's spec says so.
        host_pid: the pod's spec says so.
        command_replaced: the pod's spec replaces the image's entrypoint.
        probes: the exec probes and hooks of the container.
        source: where this came from.
    """

    namespace: str
    pod: str
    pod_uid: str | None
    container: str | None = None
    image: str | None = None
    restart_count: int | None = None
    owner: Owner | None = None
    labels: tuple[tuple[str, str], ...] = ()
    share_process_namespace: bool = False
    host_pid: bool = False
    command_replaced: bool = False
    probes: tuple[Probe, ...] = ()
    source: WorkloadSource = WorkloadSource.API


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose zombie it is.

    Attributes:
        cgroup: the path that decided, and where it was read.
        container: what the path names.
        workload: the pod; None outside pods or when nobody knows it yet.
        unit: the systemd unit of a host service.
    """

    cgroup: Cgroup | None = None
    container: Container | None = None
    workload: Workload | None = None
    unit: str | None = None


class WaitFor(StrEnum):
    """Whom a wait call waits for."""

    ANY = "any"
    """Any child (wait, waitpid(-1), waitid(P_ALL))."""
    PROCESS = "process"
    """One child, by pid or pidfd."""
    GROUP = "group"
    """Any child of one process group."""


class BlockedWait(NamedTuple):
    """A wait call in which a thread is now.

    Attributes:
        wanted: whom it waits for.
        number: that pid or process group, in the caller's own pid namespace; None for any,
            for the caller's own group and for a pidfd.
        options: the call's flags (WNOHANG, __WALL, ...).
    """

    wanted: WaitFor
    number: int | None
    options: int


class CauseCode(StrEnum):
    """Why a zombie is there; the closed list of the contract."""

    PARENT_NEVER_WAITS = "parent_never_waits"
    PARENT_WAITS_ELSEWHERE = "parent_waits_elsewhere"
    SLOW_REAPER = "slow_reaper"
    INIT_DOES_NOT_REAP = "init_does_not_reap"
    EXEC_ORPHAN = "exec_orphan"
    RUNTIME_PARENT = "runtime_parent"
    PARENT_STOPPED = "parent_stopped"
    TRACED = "traced"
    SIGCHLD_IGNORED = "sigchld_ignored"
    UNKNOWN = "unknown"


class Confidence(StrEnum):
    """How sure a diagnosis is."""

    CERTAIN = "certain"
    LIKELY = "likely"
    POSSIBLE = "possible"


@dataclass(frozen=True, slots=True)
class Cause:
    """A diagnosis: cause, how sure, the facts that led there, and what to do."""

    code: CauseCode
    confidence: Confidence
    evidence: tuple[str, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a diagnosis may look at.

    Attributes:
        now_boot_ns: when it was gathered.
        child: the zombie.
        parent: its parent now; None when it could not be read.
        waits: how the parent waited, None without BPF.
        source: core, bcc or proc.
        attached_boot_ns: since when the source has watched; None for proc.
        age_ns: how long it has been dead; a lower bound when the exit was not seen.
        siblings: other zombies of the same parent now.
        orphan: its parent is not the one it had when it was forked; None when unknown.
        session, group: of the zombie, host pid namespace.
        sibling_ages_ns: ages of some siblings, for their rhythm.
        attribution: whose it is.
        group_leader_gone, session_leader_gone: nobody has the pid of its group or session.
        entered: its session was made outside its pid namespace, other than its init's.
        pid_in_parent: its pid as its parent sees it.
        exit_signal: what its death sends to its parent: 17 (SIGCHLD) for all but odd clones.
        forker_alive: who forked it lives; None when unknown.
        tracer: who ptraces it.
        parent_tracer: who ptraces its parent.
        blocked_waits: wait calls in which threads of the parent are now.
        waited_for: the process that the parent asked for last, when it is still there.
        parent_unmoved_ns: for how long the parent was seen not to leave state D; 0 when it is
            in it and nobody looked for long; None when it is not, or does leave it.
        waits_complete: no event was lost that could have changed `waits`.
        gone: it was reaped while this was gathered.
    """

    now_boot_ns: int
    child: Child
    parent: Process | None
    waits: Waits | None
    source: str
    attached_boot_ns: int | None
    age_ns: int
    siblings: int = 0
    orphan: bool | None = None
    session: int | None = None
    group: int | None = None
    sibling_ages_ns: tuple[int, ...] = ()
    attribution: Attribution | None = None
    group_leader_gone: bool | None = None
    session_leader_gone: bool | None = None
    entered: bool | None = None
    pid_in_parent: int | None = None
    exit_signal: int | None = None
    forker_alive: bool | None = None
    tracer: Process | None = None
    parent_tracer: Process | None = None
    blocked_waits: tuple[BlockedWait, ...] = ()
    waited_for: Process | None = None
    parent_unmoved_ns: int | None = None
    waits_complete: bool = True
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Zombie:
    """A child in the table.

    Attributes:
        child: as the source saw it first, brought up to date by snapshots.
        first_seen_boot_ns: when the table learned of it.
        detected_boot_ns: when it passed the minimum age; None before that.
        siblings: other zombies of its parent at that moment.
    """

    child: Child
    first_seen_boot_ns: int
    detected_boot_ns: int | None = None
    siblings: int = 0

    def age_ns(self, now_boot_ns: int) -> int:
        """Return how long it has been dead; a lower bound when its exit was not seen."""
        since = self.child.dead_since_boot_ns
        return now_boot_ns - (self.first_seen_boot_ns if since is None else since)


@dataclass(frozen=True, slots=True)
class Record:
    """A zombie with everything that is known of it: what sinks render.

    Attributes:
        zombie: ages and facts of its death.
        age_ns: at the moment of the event.
        parent: its parent now.
        waits: how the parent waits.
        attribution: whose it is.
        cause: why; None when the event does not carry a diagnosis.
        command_line: the parent's, only when asked for.
        lifetime_ns: from death to reaping, for a reaped one.
    """

    zombie: Zombie
    age_ns: int
    parent: Process | None
    waits: Waits | None
    attribution: Attribution
    cause: Cause | None
    command_line: str | None = None
    lifetime_ns: int | None = None


class StormPhase(StrEnum):
    """The course of a storm."""

    BEGAN = "began"
    ONGOING = "ongoing"
    ENDED = "ended"
    """No more come; what came is still there."""
    DRAINED = "drained"
    """What came in it is reaped."""


@dataclass(frozen=True, slots=True)
class Storm:
    """One parent's flood of zombies, in numbers.

    Attributes:
        parent_pid: whose.
        phase: began, ongoing, ended, drained.
        zombies: of that parent, unreaped now, those told one by one included.
        detected: since the storm began, those not logged one by one.
        reaped: of those.
        rate_per_second: detected in the last interval, per second.
        oldest_age_ns: of its zombies; None when unknown.
        samples: a few of them.
        began_boot_ns: when it began.
    """

    parent_pid: int
    phase: StormPhase
    zombies: int
    detected: int
    reaped: int
    rate_per_second: float
    oldest_age_ns: int | None
    samples: tuple[Zombie, ...]
    began_boot_ns: int


class Detected(NamedTuple):
    """A child passed the minimum age unreaped."""

    zombie: Zombie


class Aged(NamedTuple):
    """A detected zombie passed a further age."""

    zombie: Zombie
    step_ns: int


class Reaped(NamedTuple):
    """A detected zombie is gone. lifetime_ns is a lower bound where its exit was not seen."""

    zombie: Zombie
    gone_boot_ns: int
    lifetime_ns: int


class StormChanged(NamedTuple):
    """A storm began, goes on (once an interval), ended, or its last zombie was reaped."""

    storm: Storm


Transition = Detected | Aged | Reaped | StormChanged
"""What the table says has happened."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What may have been missed, by the place where it was counted.

    Attributes:
        map_full: forks or exits that found no room in the kernel's table.
        queue_full: deaths that found no room in the kernel's ageing queue.
        ring_full: events that found no room in the ring buffer.
        missed: times that the kernel skipped a hook, another run of it being under way.
        stalled: moments at which a source could not tell (unparsable or refused).
        forks_lost: forks that found no room: no zombie is missed, its forker stays unknown.
    """

    map_full: int = 0
    queue_full: int = 0
    ring_full: int = 0
    missed: int = 0
    stalled: int = 0
    forks_lost: int = 0

    @property
    def total(self) -> int:
        """All after which the table may be wrong until the next snapshot."""
        return self.map_full + self.queue_full + self.ring_full + self.missed + self.stalled


class Source(Protocol):
    """A way to see zombies. Not thread-safe: one thread owns it.

    Constructing one changes nothing; start() attaches. What start(), poll() or
    snapshot() raises is a PermanentError (this source cannot work, or no longer
    works: the caller falls back) or a TemporaryError.
    """

    name: str
    """core, bcc or proc."""
    attached_boot_ns: int | None
    """Since when every death is seen; None when deaths are not seen."""

    def start(self) -> None:
        """Attach."""

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when poll() has something, if there is one."""

    def next_poll_boot_ns(self, now_boot_ns: int) -> int:
        """Return when poll() next wants to be called, whether or not fileno() is readable."""

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Return dead children that reached the minimum age, and reaped ones reported before.

        May return children younger than the minimum age; never blocks.
        """

    def snapshot(self) -> Snapshot:
        """Return every zombie on the machine; dead leaders with living threads are not zombies.

        May leave out those whose death was seen and who are younger than the minimum
        age: poll() will return them.
        """

    def losses(self) -> Losses:
        """Return what was lost since start(), ever growing."""

    def exits(self) -> int | None:
        """Return the number of processes that died since start(); None when not seen."""

    def waits(self, identity: Identity) -> Waits | None:
        """Return how that process waited and how its children fared; None when not seen."""

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that living process, for explain; None when not seen."""

    def close(self) -> None:
        """Detach. A second call does nothing."""
