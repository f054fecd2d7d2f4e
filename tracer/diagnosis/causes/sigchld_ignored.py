"""sigchld_ignored: the parent ignores SIGCHLD, so the kernel should have reaped. Pure."""

from tracer.diagnosis import remediation
from tracer.diagnosis.definition import LIKELY, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import Lines, parent, wait_history, zombie_for
from tracer.model import CauseCode, Evidence


def rule(facts: Facts) -> RuleResult | None:
    """Hold where the parent ignores the signal that this child sent."""
    if not facts.parent.sigchld_ignored or facts.non_sigchld_clone:
        return None
    return RuleResult(LIKELY, findings(facts))


def findings(facts: Facts) -> Lines:
    """Say what the kernel would have done."""
    return (
        (
            f"{parent(facts)} ignores SIGCHLD (SigIgn), so the kernel reaps its children "
            "automatically when they exit"
        ),
        (
            f"{zombie_for(facts)}, so it exited before the parent began to ignore SIGCHLD, "
            "or was held by a tracer then"
        ),
        *wait_history(facts),
    )


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Set the disposition earlier."""
    parent = evidence.parent
    name = remediation.who(parent) if parent else "The parent"
    return (
        (
            f"{name} ignores SIGCHLD now, but this child exited before it did. Ignore SIGCHLD "
            "before the first fork, or wait once for the children that have exited already "
            "(while waitpid(-1, …, WNOHANG) > 0)."
        ),
        (
            "Until this parent restarts there will be no more zombies: the kernel reaps the "
            "children that exit from now on."
        ),
        remediation.remove_zombies(evidence),
    )


CAUSE = CauseDefinition(
    code=CauseCode.SIGCHLD_IGNORED,
    situation=(
        "the parent ignores SIGCHLD, so the kernel should have reaped the child automatically"
    ),
    rule=rule,
    remediation=remedy,
    no_scenario="it takes a child that exits just before its parent starts to ignore SIGCHLD",
)
