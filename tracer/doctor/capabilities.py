"""The capabilities that the agent uses, and what it cannot do without each.

Each loss was seen in real runs without that capability: docs/kernels.md.
"""

from typing import NamedTuple

from tracer.doctor.check import Check, Status

INITIAL_USER_NAMESPACE = "user:[4026531837]"
"""PROC_USER_INIT_INO, include/linux/proc_ns.h."""


class Capability(NamedTuple):
    """A capability.

    Attributes:
        name: as a pod's securityContext writes it, with CAP_ in front.
        bit: in CapEff (include/uapi/linux/capability.h).
        loss: what does not work without it.
    """

    name: str
    bit: int
    loss: str


SYS_ADMIN = Capability("CAP_SYS_ADMIN", 21, "")
"""Includes BPF and PERFMON, which were split from it in Linux 5.8."""
BPF = Capability("CAP_BPF", 39, "BPF programs cannot be loaded")
PERFMON = Capability("CAP_PERFMON", 38, "BPF programs must not read kernel memory")
SYS_PTRACE = Capability(
    "CAP_SYS_PTRACE",
    19,
    "the executables of other users' processes are not readable, nor, without the core source,"
    " their exit codes",
)
SYS_RESOURCE = Capability("CAP_SYS_RESOURCE", 24, "RLIMIT_MEMLOCK cannot be raised")
"""Not needed from Linux 5.11 on."""
NEEDED = (BPF, PERFMON, SYS_PTRACE)

_REMEDY = "run as root, or add {} (securityContext.capabilities.add in a pod, without CAP_)"


def has(effective: int, capability: Capability) -> bool:
    """Return whether a CapEff mask has a capability or one that includes it."""
    including = SYS_ADMIN if capability in (BPF, PERFMON) else capability
    return bool((effective >> capability.bit | effective >> including.bit) & 1)


def parse_effective(status: bytes) -> int | None:
    """Return the CapEff mask of a /proc/PID/status; None when it has none."""
    for line in status.splitlines():
        if line.startswith(b"CapEff:"):
            return int(line.split()[1], 16)
    return None


def parse_seccomp(status: bytes) -> bool:
    """Return whether a /proc/PID/status shows a seccomp filter."""
    return any(line.split() == [b"Seccomp:", b"2"] for line in status.splitlines())


def seccomp(*, filtered: bool, effective: int | None, core_refused: bool) -> Check:
    """Check whether a seccomp filter refuses bpf().

    Args:
        filtered: this process has a filter.
        effective: CapEff.
        core_refused: the kernel did not permit the core source.
    """
    name = "seccomp"
    if not filtered:
        return Check(name, Status.OK, "no filter")
    entitled = effective is not None and has(effective, BPF) and has(effective, PERFMON)
    if not core_refused or not entitled:
        return Check(name, Status.OK, "a filter is active and is not what refuses bpf()")
    return Check(
        name,
        Status.FAILED,
        "a filter is active, and bpf() is refused although CAP_BPF and CAP_PERFMON are held: the"
        " container runtime's profile allows it only with CAP_SYS_ADMIN",
        "update the container runtime (containerd 1.6 or later), or apply"
        " deploy/overlays/privileged",
        matters=True,
    )


def check(effective: int | None, user_namespace: str | None, uid: int) -> Check:
    """Compare the effective set with the needed one.

    Args:
        effective: CapEff.
        user_namespace: the link /proc/self/ns/user; None when unknown.
        uid: effective user id, for the text.
    """
    name = "capabilities"
    if effective is None:
        return Check(name, Status.SKIPPED, "/proc/self/status has no CapEff line")
    if user_namespace not in (None, INITIAL_USER_NAMESPACE):
        return Check(
            name,
            Status.FAILED,
            f"not the host's user namespace ({user_namespace}): capabilities have no effect on the"
            " host",
            "run in the host's user namespace (in a pod: do not set hostUsers: false)",
            matters=True,
        )
    missing = [capability for capability in NEEDED if not has(effective, capability)]
    held = ", ".join(each.name for each in NEEDED if each not in missing)
    if not missing:
        return Check(name, Status.OK, f"uid {uid} has {held}")
    names = ", ".join(each.name for each in missing)
    decisive = BPF in missing or PERFMON in missing
    return Check(
        name,
        Status.FAILED if decisive else Status.WARNING,
        f"uid {uid} has {held or 'none of the needed capabilities'}; missing: {names}",
        _REMEDY.format(names),
        matters=decisive,
    )


def check_each(effective: int | None) -> list[Check]:
    """Return a check of each needed capability: whether it is held, and what fails without it."""
    if effective is None:
        return []
    return [_check_one(capability, held=has(effective, capability)) for capability in NEEDED]


def _check_one(capability: Capability, *, held: bool) -> Check:
    name = capability.name.lower()
    if held:
        return Check(name, Status.OK, "held")
    return Check(
        name,
        Status.WARNING if capability is SYS_PTRACE else Status.FAILED,
        f"missing: {capability.loss}",
        _REMEDY.format(capability.name),
        matters=capability is not SYS_PTRACE,
    )
