"""Checks of /proc and the namespaces it shows. Pure: facts come in as arguments."""

import re

from tracer.doctor.check import Check, Status

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
INITIAL_TIME_NAMESPACE = "time:[4026531834]"
"""PROC_PID_INIT_INO and PROC_TIME_INIT_INO, include/linux/proc_ns.h."""

_CLOCK_SET_AFTER = 1_700_000_000
"""Unix time before which this program did not exist: a clock that shows less was never set."""


def pid_namespace(link: str | None, *, sees_kernel_threads: bool) -> Check:
    """Check whether the agent would run in the host's pid namespace.

    Args:
        link: /proc/self/ns/pid; None when unreadable.
        sees_kernel_threads: pid 2 is kthreadd, which no other namespace has.
    """
    name = "pid_namespace"
    if link == INITIAL_PID_NAMESPACE or (link is None and sees_kernel_threads):
        if sees_kernel_threads:
            return Check(name, Status.OK, "this is the host's PID namespace")
        return Check(
            name,
            Status.FAILED,
            "this is the host's PID namespace, but --proc-root shows another one's processes",
            "give --proc-root the path of the host's /proc",
            matters=True,
        )
    return Check(
        name,
        Status.FAILED,
        f"not the host's PID namespace ({link or 'unreadable'}): the node's other processes are"
        " not visible",
        "run in the host's PID namespace (hostPID: true in the pod's spec)",
        matters=True,
    )


def clock(time_namespace: str | None, unix_seconds: float) -> Check:
    """Check that the boot clock is the host's and that the wall clock is set."""
    if time_namespace not in (None, INITIAL_TIME_NAMESPACE):
        return Check(
            "clock",
            Status.FAILED,
            f"not the host's time namespace ({time_namespace}): ages would be wrong",
            "run in the host's time namespace",
            matters=True,
        )
    if unix_seconds < _CLOCK_SET_AFTER:
        return Check(
            "clock",
            Status.WARNING,
            "the wall clock shows a time before 2024: timestamps will be wrong, ages will not",
            "set the node's clock (NTP)",
        )
    return Check("clock", Status.OK, "the boot clock is the host's; the wall clock is set")


def proc(root: str, error: str | None, hidepid: str | None, *, sees_init: bool) -> Check:
    """Check the proc root.

    Args:
        root: its path.
        error: why it is not a proc file system; None when it is.
        hidepid: the value of that mount option, None when it is not set.
        sees_init: whether pid 1 can be read.
    """
    if error is not None:
        remedy = "give --proc-root the path where the host's proc file system is mounted"
        return Check("proc", Status.FAILED, error, remedy, matters=True)
    mounted = f"{root}, hidepid={hidepid}" if hidepid not in (None, "0", "off") else root
    if not sees_init:
        return Check(
            "proc",
            Status.FAILED,
            f"{mounted} hides other users' processes",
            "run with CAP_SYS_PTRACE, or in the group that the mount option gid names",
            matters=True,
        )
    return Check("proc", Status.OK, f"{mounted} shows other users' processes")


def parse_hidepid(mountinfo: bytes, root: str) -> str | None:
    """Return the hidepid option of the proc mounted at `root` in a /proc/PID/mountinfo."""
    found = None
    for line in mountinfo.splitlines():
        mount, _, filesystem = line.partition(b" - ")
        if mount.split()[4] == root.encode() and filesystem.startswith(b"proc "):
            option = re.search(rb"\bhidepid=(\w+)", filesystem)
            found = option[1].decode() if option else None  # the last mount covers the others
    return found


def inspection(tried: int, refused: int) -> Check:
    """Check the right to inspect other users' processes, as tried on some of them."""
    if tried == 0:
        return Check("inspection", Status.SKIPPED, "no process of another user to try it on")
    if refused < tried:
        # A security module may protect single processes, the machine's init above all.
        readable = f"{tried - refused} of {tried} tried"
        result = f"exit codes and executables of other users' processes are readable ({readable})"
        return Check("inspection", Status.OK, result)
    return Check(
        "inspection",
        Status.WARNING,
        "executables of other users' processes are not readable; without the core source,"
        " neither are exit codes",
        "add CAP_SYS_PTRACE",
    )
