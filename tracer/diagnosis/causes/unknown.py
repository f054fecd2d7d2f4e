"""unknown: none of the other causes could be shown. Pure."""

from tracer.diagnosis import remediation
from tracer.diagnosis.definition import POSSIBLE, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import Lines, duration, origin, parent, wait_history, zombie_for
from tracer.model import CauseCode, Evidence


def rule(facts: Facts) -> RuleResult:
    """Hold always: any other cause, even one that is only possible, comes before it."""
    return RuleResult(POSSIBLE, findings(facts))


def findings(facts: Facts) -> Lines:
    """Say what is known all the same."""
    return (
        *origin(facts),
        *wait_history(facts),
        zombie_for(facts),
        f"{parent(facts)} is in state {facts.parent.state}",
    )


def unreadable_parent(evidence: Evidence) -> RuleResult:
    """Return the result where the parent could not be read, so that there are no facts."""
    pid = evidence.child.parent_pid
    why = f"its parent {pid} could not be read"
    if not pid:
        why = "its parent is not visible in this /proc"
    age = f"it has been a zombie for {duration(evidence.age_ns)}"
    return RuleResult(POSSIBLE, (why, age))


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Look longer."""
    pid, parent_pid = evidence.child.identity.pid, evidence.child.parent_pid
    parents = f", or at its parent with `tracer explain {parent_pid}`" if parent_pid else ""
    return (
        f"Look again later with `tracer explain {pid} --watch 30s`{parents}.",
        "A BPF source would show more: `tracer doctor` says what it needs."
        if evidence.waits is None
        else "",
        remediation.remove_zombies(evidence),
    )


CAUSE = CauseDefinition(
    code=CauseCode.UNKNOWN,
    situation="none of these could be shown",
    rule=rule,
    remediation=remedy,
    no_scenario="every zombie that can be made on purpose has a known cause",
)
