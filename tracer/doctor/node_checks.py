"""Checks of the node: cgroups, process limits, the state folder. Pure."""

import re
from collections.abc import Iterable

from tracer.doctor.check import Check, Status

_NEARLY_FULL = 0.8


def cgroup_version(init_cgroup: bytes | None) -> str | None:
    """Return v1, v2 or hybrid from the /proc/PID/cgroup of any process; None when unreadable."""
    if not init_cgroup:
        return None
    lines = init_cgroup.splitlines()
    unified = any(line.startswith(b"0::") for line in lines)
    if unified:
        return "hybrid" if len(lines) > 1 else "v2"
    return "v1"


def cgroup_driver(paths: bytes) -> str | None:
    """Return the kubelet's cgroup driver that named a path in a /proc/PID/cgroup, if it did."""
    if re.search(
        rb"/(kubepods|[^/\n]*-kubepods|kubepods-[^/\n]*)\.slice(/|$)", paths, re.MULTILINE
    ):
        return "systemd"
    if re.search(rb"/kubepods/|/pod[0-9a-f]{8}-[0-9a-f-]{27}(/|$)", paths, re.MULTILINE):
        return "cgroupfs"
    return None


def cgroups(version: str | None, drivers: Iterable[str], *, core_works: bool) -> Check:
    """Check whether the pod of a zombie can be found from its cgroup."""
    if version is None:
        return Check("cgroup", Status.WARNING, "/proc/1/cgroup is not readable", "run as root")
    named = " and ".join(sorted(drivers))
    driver = f"the kubelet's cgroup driver is {named}" if named else "no pods are running"
    result = f"{version}; {driver}"
    if version == "v2" or core_works:
        return Check("cgroup", Status.OK, result)
    return Check(
        "cgroup",
        Status.WARNING,
        f"{result}; with cgroup v1, /proc does not show a zombie's cgroup: its parent's is used",
        "make the core source work, or move the node to cgroup v2",
    )


def limits(pid_max: int | None, threads_max: int | None, used: int | None) -> Check:
    """Check how much room the kernel has for processes.

    Args:
        pid_max: kernel.pid_max.
        threads_max: kernel.threads-max.
        used: tasks on the machine, zombies included.
    """
    known = [limit for limit in (pid_max, threads_max) if limit is not None]
    if not known or used is None:
        return Check("limits", Status.SKIPPED, "the kernel's process limits are not readable")
    result = f"{used} tasks; pid_max is {pid_max}, threads-max is {threads_max}"
    if used >= _NEARLY_FULL * min(known):
        return Check(
            "limits",
            Status.WARNING,
            f"{result}: the node is about to run out of process ids",
            "find the parents with `tracer scan --by parent`, or raise kernel.pid_max",
        )
    return Check("limits", Status.OK, result)


def parse_tasks(loadavg: bytes) -> int | None:
    """Return the number of tasks, zombies included, in /proc/loadavg (`… 1/90 …`)."""
    found = re.search(rb"\d+/(\d+) ", loadavg)
    return int(found[1]) if found else None


def state_dir(path: str, error: str | None) -> Check:
    """Check whether the agent can keep its state over a restart (path `none`: turned off)."""
    if path == "none":
        return Check(
            "state_dir", Status.SKIPPED, "turned off: a restarted agent reports zombies again"
        )
    if error is None:
        return Check("state_dir", Status.OK, f"{path} can be written")
    return Check(
        "state_dir",
        Status.WARNING,
        f"{path} cannot be written ({error}): a restarted agent will report zombies again",
        "mount a writable folder of the host there, or name another one with --state-dir",
    )
