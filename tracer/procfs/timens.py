"""Time namespaces (time_namespaces(7)): boot times that differ from the kernel's."""

from tracer.clock import NS
from tracer.procfs.fs import ProcFs

INITIAL_NAMESPACE = "time:[4026531834]"
"""PROC_TIME_INIT_INO, include/linux/proc_ns.h."""


def boot_offset_ns(proc: ProcFs) -> int | None:
    """Return how far CLOCK_BOOTTIME of this process is ahead of the kernel's, in nanoseconds.

    0 in the machine's time namespace; None in another one whose offset cannot be read.
    """
    own = proc.link("self/ns/time")
    if own is None or own == INITIAL_NAMESPACE:  # None: a kernel without time namespaces
        return 0
    for line in (proc.read("self/timens_offsets") or b"").splitlines():
        match line.split():
            case [b"boottime" | b"7", seconds, nanoseconds]:
                return int(seconds) * NS + int(nanoseconds)
            case _:
                pass
    return None


def time_namespace_problem(proc: ProcFs) -> str | None:
    """Return what goes wrong in this process's time namespace; None when nothing does.

    The kernel reports start and exit times of its own clock. This process reads another one,
    and /proc shows it the start times of processes moved by the same offset.
    """
    offset_ns = boot_offset_ns(proc)
    if offset_ns == 0:
        return None
    moved = "by an unknown offset" if offset_ns is None else f"by {offset_ns / NS:+g} s"
    return (
        f"this process is in a time namespace of its own, where the boot clock differs {moved}:"
        " ages and times of zombies will be wrong, and parents may not be recognised; run it in"
        " the node's time namespace (nsenter --time --target 1)"
    )
