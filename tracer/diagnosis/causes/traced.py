"""traced: a ptrace tracer has not released the zombie. Pure."""

from tracer.diagnosis import remediation
from tracer.diagnosis.definition import CERTAIN, LIKELY, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import Lines, name, zombie_for
from tracer.model import CauseCode, Evidence


def rule(facts: Facts) -> RuleResult | None:
    """Hold where the zombie has a tracer."""
    tracer_pid = facts.child.tracer_pid
    if tracer_pid is None:
        return None
    # The tracer may be the parent (strace's own child): whether it would wait without
    # tracing is unknown.
    sure = CERTAIN if tracer_pid != facts.parent.identity.pid else LIKELY
    return RuleResult(sure, findings(facts))


def findings(facts: Facts) -> Lines:
    """Say who traces it."""
    process = facts.evidence.tracer
    who = name(process) if process else str(facts.child.tracer_pid)
    held = (
        f"its parent {who} is also its ptrace tracer (TracerPid)"
        if facts.child.tracer_pid == facts.parent.identity.pid
        else f"{who} ptraces it (TracerPid) and is not its parent {name(facts.parent)}: "
        "the parent's wait calls do not return it until the tracer waits for it or detaches"
    )
    state = (f"the tracer is in state {process.state}",) if process else ()
    return (held, *state, zombie_for(facts))


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Release it."""
    tracer, pid = evidence.tracer, evidence.child.tracer_pid
    who = f"{remediation.program(tracer)} (pid {pid})" if tracer else f"Process {pid}"
    command = remediation.signal(tracer, "TERM", None) if tracer else f"kill -TERM {pid}"
    release = f"Detach or end it (strace, gdb, a profiler or an agent): `{command}`."
    if pid == evidence.child.parent_pid:
        return (f"{who} is both parent and tracer of this child and has not waited. {release}",)
    return (
        (
            f"{who} traces this child and has not released it, so its parent cannot reap it. "
            f"{release} The parent can then reap it at once."
        ),
        "The parent is not at fault, and an init (tini) does not help.",
    )


CAUSE = CauseDefinition(
    code=CauseCode.TRACED,
    situation="a ptrace tracer has not released it",
    rule=rule,
    remediation=remedy,
    scenario="traced",
)
