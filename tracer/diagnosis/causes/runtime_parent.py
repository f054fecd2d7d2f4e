"""runtime_parent: the parent is a container runtime's shim or monitor. Pure."""

from tracer.diagnosis import programs, remediation
from tracer.diagnosis.definition import CERTAIN, LIKELY, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import Lines, origin, parent, wait_history
from tracer.model import CauseCode, Evidence


def rule(facts: Facts) -> RuleResult | None:
    """Hold where the parent runs the program of a shim or monitor."""
    named = programs.is_runtime(facts.parent)
    if named is False:
        return None
    # Runtimes live in the host's PID namespace; a tenant may name its program as it likes.
    on_host = facts.parent.vpid == facts.parent.identity.pid
    if named is None and not on_host:
        return None
    sure = CERTAIN if named and on_host else LIKELY
    return RuleResult(sure, findings(facts))


def findings(facts: Facts) -> Lines:
    """Say which runtime it is."""
    runs = facts.parent.path or f"{facts.parent.comm} (known by its name only)"
    nested = facts.child.vpid not in {None, facts.child.identity.pid}
    return (
        f"{parent(facts)} runs {runs}, a container runtime's shim or monitor",
        *(("it ran in a PID namespace below the host's",) if nested else ()),
        *origin(facts),
        *wait_history(facts),
    )


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Update the runtime."""
    parent = evidence.parent
    name = remediation.program(parent) if parent else "the container runtime"
    pid = parent.identity.pid if parent else evidence.child.parent_pid
    return (
        (
            f"{name} (pid {pid}) did not reap this child. Container runtimes have known bugs here, "
            "under load or after failed execs: check the log on the node (`journalctl -u "
            "containerd -u crio`), and update containerd, CRI-O, runc or conmon."
        ),
        (
            "The application cannot fix this. The shim may also have adopted a process with "
            "hostPID, or one left by an exec."
        ),
        remediation.remove_zombies(evidence, ends="the container"),
    )


CAUSE = CauseDefinition(
    code=CauseCode.RUNTIME_PARENT,
    situation="the parent is a container runtime's shim or monitor (containerd-shim, conmon)",
    rule=rule,
    remediation=remedy,
    no_scenario="it takes a bug in containerd-shim or conmon",
)
