"""Starts each source for a moment, in the order of --source auto, to see which one works."""

import errno
import os
import time
from typing import NamedTuple

from tracer.doctor.check import Check, Choice, Status
from tracer.errors import TracerError
from tracer.sources.select import ORDER, Makers, open_source

_REMEDIES = {
    "pid namespace": "run in the host's PID namespace (hostPID: true in the pod's spec)",
    "libbpf.so": "install libbpf 1.0 or later (Debian and Ubuntu: apt-get install libbpf1)",
    "no BTF": "install python3-bpfcc, for the bcc source",
    "BPF object": "build the object again with `make setup`, or reinstall zombie-tracer",
}
"""By words in the error of the core source."""


class Attempt(NamedTuple):
    """One start of one source.

    Attributes:
        name: of the source.
        error: why it cannot work; None when it works.
        result: what it did when it works.
    """

    name: str
    error: str | None
    result: str = ""


def attempt(name: str, make: Makers) -> Attempt:
    """Start a source, take a snapshot from it, and close it."""
    began = time.monotonic()
    try:
        source, _reason = open_source(name, make=make)
        try:
            started_seconds = time.monotonic() - began
            zombies = sum(1 for _ in source.snapshot().keys())  # noqa: SIM118 - no dict
        finally:
            source.close()
    except TracerError as error:
        return Attempt(name, str(error))
    plural = "zombie" if zombies == 1 else "zombies"
    return Attempt(name, None, f"started in {started_seconds:.2f} s and found {zombies} {plural}")


def until_one_works(make: Makers) -> list[Attempt]:
    """Try the sources until one works."""
    attempts = []
    for name in ORDER:
        if name in make:
            attempts.append(attempt(name, make))
            if attempts[-1].error is None:
                break
    return attempts


def choose(attempts: list[Attempt]) -> Choice:
    """Return the source that worked, and why it is that one."""
    failures = [each.error for each in attempts if each.error is not None]
    for each in attempts:
        if each.error is None:
            return Choice(each.name, "; ".join([*failures, f"{each.name} works"]))
    return Choice(None, "; ".join(failures))


def check(attempts: list[Attempt]) -> Check:
    """Check how well the source that auto would use can see."""
    choice = choose(attempts)
    results = {each.name: each.result for each in attempts}
    match choice.name:
        case "core":
            return Check("bpf", Status.OK, f"the core source {results['core']}")
        case "bcc":
            return Check(
                "bpf",
                Status.WARNING,
                f"{choice.reason}; the bcc source {results['bcc']}",
                "make the core source work, which needs BTF: it uses a tenth of the memory",
            )
        case "proc":
            return Check(
                "bpf",
                Status.FAILED,
                f"{choice.reason}: exits are not seen, so ages are lower bounds",
                _remedy(attempts),
                matters=True,
            )
        case _:
            return Check("bpf", Status.FAILED, choice.reason, _remedy(attempts), matters=True)


def refused(attempts: list[Attempt], name: str) -> bool:
    """Return whether the kernel, or a filter, did not permit that source.

    A seccomp filter answers EPERM, or ENOSYS.
    """
    errors = [each.error or "" for each in attempts if each.name == name]
    reasons = [os.strerror(number) for number in (errno.EPERM, errno.ENOSYS)]
    return any(reason in error for reason in reasons for error in errors)


def _remedy(attempts: list[Attempt]) -> str:
    """Return the first thing to do about BPF, by the error of the core source."""
    core = next((each.error or "" for each in attempts if each.name == "core"), "")
    for words, remedy in _REMEDIES.items():
        if words in core:
            return remedy
    return (
        "run as root or with CAP_BPF and CAP_PERFMON; before Linux 5.11 also with"
        " CAP_SYS_RESOURCE or an unlimited RLIMIT_MEMLOCK"
    )
