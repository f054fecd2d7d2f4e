"""Why a zombie is there, and what that is concluded from."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tracer.model.child import Child
from tracer.model.process import Process, Waits
from tracer.model.workload import Attribution


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
