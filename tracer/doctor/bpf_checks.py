"""Checks of what the BPF sources need from the kernel. Pure: facts come in as arguments."""

import re

from tracer.doctor.check import Check, Status

CORE_SINCE = (5, 10)
"""Running a raw tracepoint program on demand came in 5.10 (1b4d60ec162f)."""


MEMLOCK_UNTIL = (5, 11)
"""BPF is charged to the memory cgroup since, and no longer to RLIMIT_MEMLOCK (d5299b67dd59)."""


def release_of(text: str) -> tuple[int, int] | None:
    """Return the major and minor number of uname's release; None when it has none."""
    found = re.match(r"(\d{1,9})\.(\d{1,9})", text)
    return (int(found[1]), int(found[2])) if found else None


def kernel(release: str, machine: str, lockdown: str | None) -> Check:
    """Check the kernel's release and its lockdown mode (None when it has none)."""
    version = release_of(release)
    result = f"Linux {release}, {machine}" + (f", lockdown {lockdown}" if lockdown else "")
    if lockdown == "confidentiality":
        return Check(
            "kernel",
            Status.FAILED,
            f"{result}: BPF programs must not read kernel memory in this mode",
            "boot with lockdown=integrity, or run with --source proc",
            matters=True,
        )
    if version is not None and version < CORE_SINCE:
        return Check(
            "kernel",
            Status.WARNING,
            f"{result}: the core source needs {CORE_SINCE[0]}.{CORE_SINCE[1]} or later",
            "use a newer kernel, or run with --source bcc or proc",
        )
    return Check("kernel", Status.OK, result)


def parse_lockdown(text: str) -> str | None:
    """Return the active mode in /sys/kernel/security/lockdown (`none [integrity] …`)."""
    found = re.search(r"\[(\w+)\]", text)
    return found[1] if found else None


def btf(size_bytes: int | None) -> Check:
    """Check the kernel's type information; None when there is none."""
    if size_bytes is None:
        return Check(
            "btf",
            Status.WARNING,
            "this kernel has no BTF (/sys/kernel/btf/vmlinux is missing): the core source needs it",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF, or run with --source bcc or proc",
        )
    return Check("btf", Status.OK, f"/sys/kernel/btf/vmlinux, {size_bytes / 1e6:.1f} MB")


def memlock(limit_bytes: int | None, release: str, *, may_raise: bool, core_refused: bool) -> Check:
    """Check the limit that Linux before 5.11 sets to the memory of BPF.

    Args:
        release: of the kernel.
        limit_bytes: RLIMIT_MEMLOCK; None for no limit.
        may_raise: this process has CAP_SYS_RESOURCE, with which libbpf raises the limit.
        core_refused: the kernel did not permit the core source; the limit may be why.
    """
    result = "no limit" if limit_bytes is None else f"RLIMIT_MEMLOCK is {limit_bytes} bytes"
    unlimited = (release_of(release) or MEMLOCK_UNTIL) >= MEMLOCK_UNTIL
    if not core_refused or limit_bytes is None or may_raise or unlimited:
        return Check("memlock", Status.OK, result)
    return Check(
        "memlock",
        Status.WARNING,
        f"{result} and cannot be raised: Linux before 5.11 then refuses to load BPF programs",
        "add CAP_SYS_RESOURCE, or set LimitMEMLOCK=infinity for the container runtime",
    )


def tracefs(found: str | None, *, core_works: bool) -> Check:
    """Check whether bcc can read the formats of tracepoints; `found` says where."""
    if found:
        return Check("tracefs", Status.OK, found)
    result = "not mounted or not readable at /sys/kernel/tracing; only the bcc source needs it"
    if core_works:
        return Check("tracefs", Status.SKIPPED, result)
    return Check(
        "tracefs",
        Status.WARNING,
        result,
        "mount the host's tracefs there, and run as root or with CAP_DAC_READ_SEARCH",
    )


def bcc(version: str | None, error: str | None, *, core_works: bool) -> Check:
    """Check whether bcc is installed."""
    if version:
        return Check("bcc", Status.OK, f"version {version}")
    result = f"cannot be imported ({error}); only the bcc source needs it"
    if core_works:
        return Check("bcc", Status.SKIPPED, result)
    remedy = "install it (Debian and Ubuntu: apt-get install python3-bpfcc)"
    return Check("bcc", Status.WARNING, result, remedy)
