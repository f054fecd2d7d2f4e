"""Causes of zombies, and the evidence for them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tracer.model.child import Child
from tracer.model.process import Process, Waits
from tracer.model.workload import Attribution


class WaitFor(StrEnum):
    """Which children a wait call waits for."""

    ANY = "any"
    """Any child (wait, waitpid(-1), waitid(P_ALL))."""
    PROCESS = "process"
    """One child, by pid or pidfd."""
    GROUP = "group"
    """Any child in one process group."""
    THREAD = "thread"
    """Only children that another thread of the parent forked (__WNOTHREAD)."""


class BlockedWait(NamedTuple):
    """A wait call in which a thread is now.

    Attributes:
        wanted: which children it waits for.
        number: that pid or process group, in the caller's own PID namespace; None for any child,
            for the caller's own group, and for a pidfd where only /proc shows the call.
        options: the call's flags (WNOHANG, __WALL, ...).
        of_thread: the thread whose own children it waits for (__WNOTHREAD), as /proc numbers
            it; None for children of all threads.
    """

    wanted: WaitFor
    number: int | None
    options: int
    of_thread: int | None = None


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
    """A diagnosis: the cause, how sure it is, the facts that led there, and what to do."""

    code: CauseCode
    confidence: Confidence
    evidence: tuple[str, ...]
    advice: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a diagnosis is based on.

    Attributes:
        now_boot_ns: when it was gathered.
        child: the zombie.
        parent: its parent now; None when it could not be read.
        waits: how the parent waited; None where no BPF source observed it.
        attached_boot_ns: since when the source has observed forks and exits; None for proc.
        age_ns: how long it has been a zombie; a lower bound when its exit was not observed.
        siblings: other zombies of the same parent now.
        session, group: of the zombie, in the host's PID namespace.
        attribution: the container, pod or systemd unit it belongs to.
        joined_from_outside: True when its session was created outside its PID namespace and is
            not that of the PID 1 there; None when unknown.
        pid_in_parent: its pid as its parent sees it.
        exit_signal: the signal that its exit sends to the parent; 17 (SIGCHLD) unless the child
            was cloned with another one.
        forker_alive: whether the process that forked it is alive; None when unknown.
        tracer: the process that ptraces it.
        parent_tracer: the process that ptraces its parent.
        blocked_waits: wait calls in which threads of the parent are now.
        waited_for: the process that the parent's latest wait call named, if it is still there.
        parent_unmoved_ns: how long the parent was observed to stay in state D; 0 when it is in
            it but was not observed for long; None when it is not, or left it.
        waits_complete: no event was lost that could have changed `waits`.
        gone: it was reaped while this was gathered.
    """

    now_boot_ns: int
    child: Child
    parent: Process | None
    waits: Waits | None
    attached_boot_ns: int | None
    age_ns: int
    siblings: int = 0
    session: int | None = None
    group: int | None = None
    attribution: Attribution | None = None
    joined_from_outside: bool | None = None
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
