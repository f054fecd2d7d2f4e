"""Processes: who they are, what they are, how they wait."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Identity(NamedTuple):
    """A process for all time: a pid alone is reused, a pid with its start is not.

    Attributes:
        pid: in the pid namespace of /proc (the host's).
        start_ticks: start time in clock ticks since boot, as in /proc/PID/stat
            field 22. Ticks, so that all sources and a restarted agent agree.
            UNKNOWN_TICKS for the parent of a storm that could not be read.
    """

    pid: int
    start_ticks: int


UNKNOWN_TICKS = 0
"""The start time of a parent that could not be read: gone, hidden, or in another namespace."""


class OriginKind(StrEnum):
    """How the line of forks that led to a process began in its pid namespace."""

    INIT = "init"
    """It descends from the pid 1 of its pid namespace."""
    SETNS = "entered"
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
        tracer_pid: who ptraces it.
        sigchld_ignored, sigchld_caught, sigchld_blocked: its disposition of SIGCHLD.
        frozen: its cgroup is frozen.
        threads_uninterruptible: threads of it in state D.
        cgroup_path: its cgroup.
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
    tracer_pid: int | None = None
    sigchld_ignored: bool | None = None
    sigchld_caught: bool | None = None
    sigchld_blocked: bool | None = None
    frozen: bool | None = None
    threads_uninterruptible: int = 0
    cgroup_path: str | None = None

    @property
    def is_init(self) -> bool | None:
        """Whether it is the pid 1 of its pid namespace."""
        return None if self.vpid is None else self.vpid == 1
