"""exec_orphan: left by an exec into the container, not by the container's own processes. Pure."""

from tracer.diagnosis import remediation
from tracer.diagnosis.causes.init_does_not_reap import adopter_does_not_reap
from tracer.diagnosis.definition import CERTAIN, LIKELY, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import Lines, adopter, origin, wait_history, zombie_for
from tracer.model import CauseCode, Evidence

_BY_EXEC = "(exec probe or kubectl exec)"


def rule(facts: Facts) -> RuleResult | None:
    """Hold where its ancestry began outside its PID namespace, and its forker is gone."""
    if not facts.joined_from_outside or facts.adopted is False:
        return None
    if facts.adopted is None and not facts.parent.is_init:
        return None
    observed = facts.child.origin is not None and facts.adopted
    sure = CERTAIN if observed and adopter_does_not_reap(facts) is CERTAIN else LIKELY
    return RuleResult(sure, findings(facts))


def findings(facts: Facts) -> Lines:
    """Say how it came into the PID namespace."""
    return (
        _entry(facts),
        *origin(facts),
        adopter(facts),
        *wait_history(facts),
        zombie_for(facts),
    )


def _entry(facts: Facts) -> str:
    first = facts.child.origin_pid
    if facts.child.origin is None:
        return "its session was created outside its PID namespace and is not that of PID 1"
    if first == facts.child.identity.pid:
        return f"it joined this PID namespace from outside {_BY_EXEC}"
    start = f"PID {first}, which joined" if first else "a process that joined"
    return f"its ancestry in this PID namespace starts at {start} from outside {_BY_EXEC}"


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Change the command, or run an init."""
    workload = remediation.workload_of(evidence)
    return (
        (
            "A command run in the container from outside (exec probe, lifecycle hook or kubectl "
            "exec) ended before a process that it had started."
        ),
        remediation.probes(workload) if workload is not None else "",
        (
            "Make that command wait for what it starts: no `&` without `wait`, a `timeout` inside "
            "the probe shorter than timeoutSeconds, and a kill of the whole process group. Or "
            "probe with httpGet, tcpSocket or grpc, which start no process."
        ),
        f"{remediation.RUN_AN_INIT} It reaps what is left.",
        f"Or let the pod's pause process reap: {remediation.share_process_namespace(workload)}."
        if workload is not None and not workload.share_process_namespace
        else "",
        f"To see its probes: `{remediation.show_probes(workload)}`."
        if workload is not None and not workload.probes
        else "",
        remediation.remove_zombies(evidence),
    )


CAUSE = CauseDefinition(
    code=CauseCode.EXEC_ORPHAN,
    situation=(
        "left by an exec into the container (probe, `kubectl exec`, lifecycle hook), "
        "not by the container's own process tree"
    ),
    rule=rule,
    remediation=remedy,
    scenario="exec_orphan",
)
