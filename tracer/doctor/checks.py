"""From facts to checks. Pure: what the machine says comes in as arguments."""

import re
from collections.abc import Iterable

from tracer.doctor.check import Check, Status

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
INITIAL_TIME_NAMESPACE = "time:[4026531834]"
"""PROC_PID_INIT_INO and PROC_TIME_INIT_INO, include/linux/proc_ns.h."""

CORE_SINCE = (5, 10)
"""Running a raw tracepoint program on demand came in 5.10 (1b4d60ec162f)."""

_NEARLY_FULL = 0.8
_NO_CLOCK_BEFORE = 1_700_000_000
"""Unix time before which this program did not exist: the clock was never set."""


def kernel(release: str, machine: str, lockdown: str | None) -> Check:
    """Judge the kernel's release and its lockdown mode (None when it has none)."""
    found = re.match(r"(\d+)\.(\d+)", release)
    said = f"Linux {release}, {machine}" + (f", lockdown {lockdown}" if lockdown else "")
    if lockdown == "confidentiality":
        return Check(
            "kernel",
            Status.FAILED,
            f"{said}: BPF programs may not read kernel memory",
            "boot with lockdown=integrity, or live with --source proc",
            matters=True,
        )
    if found and (int(found[1]), int(found[2])) < CORE_SINCE:
        return Check(
            "kernel",
            Status.WARNING,
            f"{said}: older than {CORE_SINCE[0]}.{CORE_SINCE[1]}, so the core source cannot work",
            "use a newer kernel, or live with --source bcc or proc",
        )
    return Check("kernel", Status.OK, said)


def parse_lockdown(text: str) -> str | None:
    """Return the chosen mode of /sys/kernel/security/lockdown (`none [integrity] …`)."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else None


def btf(size_bytes: int | None) -> Check:
    """Judge the kernel's type information."""
    if size_bytes is None:
        return Check(
            "btf",
            Status.WARNING,
            "this kernel has no BTF (/sys/kernel/btf/vmlinux), so the core source cannot work",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, or live with --source bcc or proc",
        )
    return Check("btf", Status.OK, f"{size_bytes / 1e6:.1f} MB of types")


def pid_namespace(link: str | None, *, sees_kernel_threads: bool) -> Check:
    """Judge whether we are in the host's pid namespace.

    Args:
        link: /proc/self/ns/pid; None when unreadable.
        sees_kernel_threads: pid 2 is kthreadd, which is in no other namespace.
    """
    name = "pid_namespace"
    if link == INITIAL_PID_NAMESPACE or (link is None and sees_kernel_threads):
        if sees_kernel_threads:
            return Check(name, Status.OK, "the host's")
        return Check(
            name,
            Status.FAILED,
            "we are in the host's, but the proc root shows another's processes",
            "give --proc-root the host's /proc",
            matters=True,
        )
    return Check(
        name,
        Status.FAILED,
        f"its own ({link or 'unreadable'}): the node's other processes are out of sight",
        "run in the host's pid namespace (hostPID: true in the pod's spec)",
        matters=True,
    )


def clock(time_namespace: str | None, unix_seconds: float) -> Check:
    """Judge whether our clocks are the kernel's and the wall clock was ever set."""
    if time_namespace not in (None, INITIAL_TIME_NAMESPACE):
        return Check(
            "clock",
            Status.FAILED,
            f"in a time namespace of its own ({time_namespace}): ages would be wrong",
            "run in the host's time namespace",
            matters=True,
        )
    if unix_seconds < _NO_CLOCK_BEFORE:
        return Check(
            "clock",
            Status.WARNING,
            "the wall clock stands before 2024: ages are right, timestamps are not",
            "set the node's clock (NTP)",
        )
    return Check("clock", Status.OK, "the host's boot clock; the wall clock is set")


def proc(root: str, error: str | None, hidepid: str | None, *, sees_init: bool) -> Check:
    """Judge the proc root.

    Args:
        root: its path.
        error: why it is none; None when it is one.
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
            "run with CAP_SYS_PTRACE, or in the group of the mount option gid",
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


def inspection(looked_at: int, refused: int) -> Check:
    """Judge whether other users' processes may be inspected (tried on some of them)."""
    if looked_at == 0:
        return Check("inspection", Status.SKIPPED, "no process of another user to try it on")
    if refused < looked_at:
        said = "exit codes and executables can be read"
        # A security module may protect single processes, the machine's init above all.
        return Check(
            "inspection", Status.OK, f"{said} ({looked_at - refused} of {looked_at} tried)"
        )
    return Check(
        "inspection",
        Status.WARNING,
        "other users' executables cannot be read, nor, without the core source, exit codes",
        "add CAP_SYS_PTRACE",
    )


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
    """Judge whether zombies can be told by their cgroups."""
    if version is None:
        return Check("cgroup", Status.WARNING, "/proc/1/cgroup cannot be read", "run as root")
    named = " and ".join(sorted(drivers))
    driver = f"the kubelet's driver is {named}" if named else "no pods are running"
    said = f"{version}, {driver}"
    if version == "v2" or core_works:
        return Check("cgroup", Status.OK, said)
    return Check(
        "cgroup",
        Status.WARNING,
        f"{said}: /proc shows no cgroup of a zombie under v1, so its parent's is taken",
        "make the core source work, or move the node to cgroup v2",
    )


def tracefs(found: str | None, *, core_works: bool) -> Check:
    """Judge whether bcc can read the formats of tracepoints; `found` says how it can."""
    if found:
        return Check("tracefs", Status.OK, found)
    said = "not mounted or not readable at /sys/kernel/tracing; only the bcc source needs it"
    if core_works:
        return Check("tracefs", Status.SKIPPED, said)
    return Check(
        "tracefs",
        Status.WARNING,
        said,
        "mount the host's tracefs there and run as root or with CAP_DAC_READ_SEARCH",
    )


def bcc(version: str | None, error: str | None, *, core_works: bool) -> Check:
    """Judge whether bcc is installed."""
    if version:
        return Check("bcc", Status.OK, f"version {version}")
    said = f"not usable ({error}); only the bcc source needs it"
    if core_works:
        return Check("bcc", Status.SKIPPED, said)
    return Check(
        "bcc", Status.WARNING, said, "install it (Debian and Ubuntu: apt-get install python3-bpfcc)"
    )


def memlock(limit_bytes: int | None, *, may_raise: bool, core_refused: bool) -> Check:
    """Judge the limit that Linux before 5.11 sets to the memory of BPF (d5299b67dd59).

    Args:
        limit_bytes: RLIMIT_MEMLOCK; None for no limit.
        may_raise: we have CAP_SYS_RESOURCE, with which libbpf raises it.
        core_refused: the kernel did not permit the core source; this may be why.
    """
    said = "no limit" if limit_bytes is None else f"RLIMIT_MEMLOCK is {limit_bytes} bytes"
    if not core_refused or limit_bytes is None or may_raise:
        return Check("memlock", Status.OK, said)
    return Check(
        "memlock",
        Status.WARNING,
        f"{said} and may not be raised: Linux before 5.11 refuses BPF for that",
        "there, add CAP_SYS_RESOURCE or lift the limit (LimitMEMLOCK=infinity of the runtime)",
    )


def limits(pid_max: int | None, threads_max: int | None, used: int | None) -> Check:
    """Judge how many tasks there are of those that can be; every zombie is one of them."""
    known = [limit for limit in (pid_max, threads_max) if limit is not None]
    if not known or used is None:
        return Check("limits", Status.SKIPPED, "the kernel's limits cannot be read")
    said = f"{used} tasks; pid_max {pid_max}, threads-max {threads_max}"
    if used >= _NEARLY_FULL * min(known):
        return Check(
            "limits",
            Status.WARNING,
            f"{said}: nearly exhausted",
            "find out whose they are with `tracer scan --by parent`; raise kernel.pid_max",
        )
    return Check("limits", Status.OK, said)


def parse_tasks(loadavg: bytes) -> int | None:
    """Return the number of tasks, zombies included, of /proc/loadavg (`… 1/90 …`)."""
    found = re.search(rb"\d+/(\d+) ", loadavg)
    return int(found[1]) if found else None


def state_folder(path: str, error: str | None) -> Check:
    """Judge whether what must survive a restart can be kept (path `none`: not wanted)."""
    if path == "none":
        return Check("state_dir", Status.SKIPPED, "turned off: a restart tells zombies again")
    if error is None:
        return Check("state_dir", Status.OK, f"{path} can be written")
    return Check(
        "state_dir",
        Status.WARNING,
        f"{path} cannot be written ({error}): after a restart zombies are told again",
        "mount a folder of the host there, or give another with --state-dir",
    )
