"""Checks of the node: cgroups, process limits, the state folder. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

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


def state_dir(path: str, error: str | None, remedy: str | None = None) -> Check:
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
        remedy,
    )


class Memory(NamedTuple):
    """What an agent with one source needs, in MiB: at rest, and in a storm."""

    at_rest: int
    storm: int


MEMORY = {"core": Memory(64, 300), "bcc": Memory(160, 450), "proc": Memory(48, 300)}
"""The requests and limits of the manifests: measured at rest 30 to 45 MB and 12 MB of maps
(core), and LLVM for one compilation (bcc); a storm of a million zombies takes 200 MB."""


def memory(limit_bytes: int | None, source: str | None) -> Check:
    """Check the memory limit of this process's cgroup against the needs of its source.

    Args:
        limit_bytes: the smallest limit that applies; None for none.
        source: that auto would use; None when none works.
    """
    if limit_bytes is None or source is None:
        return Check("memory", Status.OK, "no memory limit")
    limit = limit_bytes >> 20
    needed = MEMORY[source]
    result = f"the memory limit is {limit} MiB"
    remedy = f"set resources.limits.memory to {needed.storm}Mi or more"
    if limit < needed.at_rest:
        return Check(
            "memory",
            Status.FAILED,
            f"{result}, but the agent needs {needed.at_rest} MiB with the source {source}: the"
            " kernel will kill it",
            remedy,
            matters=True,
        )
    if limit < needed.storm:
        return Check(
            "memory",
            Status.WARNING,
            f"{result}: the kernel may kill the agent in a storm of a million zombies",
            remedy,
        )
    return Check("memory", Status.OK, result)
