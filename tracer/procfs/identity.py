"""Reading /proc by pid without mistaking one process for another."""

from typing import NamedTuple

from tracer.model import Identity
from tracer.procfs.fs import ProcFormatError, ProcFs


class CgroupReading(NamedTuple):
    """/proc/PID/cgroup, with the start time of the process that had the pid afterwards.

    Attributes:
        start_ticks: as in Identity.
        text: the file as the kernel wrote it.
    """

    start_ticks: int
    text: bytes


def read_cgroup(proc: ProcFs, pid: int) -> CgroupReading | None:
    """Read the cgroup file of a pid; None when it is gone or refused.

    The start time is read last. When it is that of an expected process, that process had
    the pid throughout, and the text is its own.
    """
    text = proc.cgroup(pid)
    stat = None if text is None else proc.stat(pid)
    return None if text is None or stat is None else CgroupReading(stat.start_ticks, text)


def read_command_line(proc: ProcFs, identity: Identity) -> str | None:
    """Read the command line of a process; None when it has none, is gone, or lost its pid.

    The start time is read last: the command line of whoever has the pid now may hold the
    secrets of somebody else.
    """
    words = proc.cmdline(identity.pid)
    stat = proc.stat(identity.pid) if words else None
    if stat is None or stat.start_ticks != identity.start_ticks:
        return None
    return " ".join(words) or None


def is_alive(proc: ProcFs, identity: Identity) -> bool:
    """Return whether a process is alive; a zombie and a process that took its pid are not it.

    Raises:
        OSError: it cannot be read now, which does not mean that it has died.
    """
    stat = proc.stat(identity.pid)
    return stat is not None and stat.start_ticks == identity.start_ticks and not stat.is_zombie


def living_process(proc: ProcFs, pid: int) -> Identity | None:
    """Return the process that has a pid; None when there is none, or it is a zombie itself.

    An error in reading is None as well: who asks has another way, and other reads report it.
    """
    try:
        stat = proc.stat(pid)
    except (OSError, ProcFormatError):
        return None
    if stat is None or (stat.state == "Z" and stat.num_threads <= 1):
        return None
    return Identity(pid, stat.start_ticks)


def zombie_parent(proc: ProcFs, identity: Identity) -> int | None:
    """Return the parent of a zombie; None when it was reaped, or cannot be read now."""
    try:
        stat = proc.stat(identity.pid)
    except (OSError, ProcFormatError):
        return None
    return stat.ppid if stat is not None and stat.start_ticks == identity.start_ticks else None
