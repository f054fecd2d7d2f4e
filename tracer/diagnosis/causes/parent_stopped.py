"""parent_stopped: the parent is stopped, frozen or in uninterruptible sleep. Pure."""

from tracer.diagnosis import remediation
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import Lines, count, duration, name, parent, wait_history, zombie_for
from tracer.model import CauseCode, Evidence, Process

_REAPS_THEN = "It will then reap its children, if it reaps at all."


def rule(facts: Facts) -> RuleResult | None:
    """Hold where the parent cannot run."""
    parent = facts.parent
    if parent.state in "Tt" or parent.frozen:
        had_waited = facts.waits is not None and facts.waits.any > 0 and not facts.waited_since
        sure = CERTAIN if had_waited and facts.adopted is not None else LIKELY
        return RuleResult(sure, findings(facts))
    if parent.state != "D" or facts.evidence.parent_unmoved_ns is None:
        return None
    if facts.reaped_just_now:
        return None
    # Each vfork passes through D; a parent that stays there, and does not come to wait, is
    # stuck. Of several threads, which one would wait is unknown, so all must be.
    stuck = parent.threads_uninterruptible >= parent.threads and not facts.waited_of_late
    seen = facts.evidence.parent_unmoved_ns > 0
    return RuleResult(LIKELY if stuck and seen else POSSIBLE, findings(facts))


def findings(facts: Facts) -> Lines:
    """Say what keeps the parent from running."""
    return (_state(facts), zombie_for(facts), *wait_history(facts))


def _state(facts: Facts) -> str:
    process = facts.parent
    if process.frozen:
        where = f" (cgroup {process.cgroup_path})" if process.cgroup_path else ""
        return f"{parent(facts)} is frozen{where}"
    if process.state == "T":
        return f"{parent(facts)} is stopped by a signal (state T)"
    if process.state == "t":
        holder = facts.evidence.parent_tracer
        by = name(holder) if holder else process.tracer_pid or "unknown"
        return f"{parent(facts)} is stopped by its ptrace tracer {by} (state t)"
    threads = f"{process.threads_uninterruptible} of {count(process.threads, 'thread')}"
    unmoved = facts.evidence.parent_unmoved_ns
    since = f" and has not run for {duration(unmoved)}" if unmoved else ""
    return f"{parent(facts)} is in uninterruptible sleep ({threads} in state D){since}"


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Let the parent run."""
    parent = evidence.parent
    if parent is None:
        return (remediation.remove_zombies(evidence),)
    who = remediation.who(parent)
    if parent.frozen:
        return (
            (
                f"{who} is frozen and cannot wait. Thaw it with docker unpause, nerdctl unpause or "
                f"ctr tasks resume, or {remediation.thaw(parent)}. {_REAPS_THEN}"
            ),
        )
    if parent.state == "T":
        command = remediation.signal(parent, "CONT", remediation.workload_of(evidence))
        return (f"{who} is stopped and cannot wait. Continue it with `{command}`. {_REAPS_THEN}",)
    if parent.state == "t":
        return (_debugged(parent, who),)
    return (
        (
            f"{who} hangs in the kernel and cannot wait. See where with `cat "
            f"/proc/{parent.identity.pid}/stack` on the node: look for a dead NFS server, a "
            "failing disk or a FUSE mount. It may also be in vfork(2) until its child calls exec."
        ),
        "Signals do not reach it in that state; it goes on once what it waits for answers.",
    )


def _debugged(parent: Process, who: str) -> str:
    debugger = f"pid {parent.tracer_pid}" if parent.tracer_pid else "pid unknown"
    return (
        f"{who} is stopped in a debugger ({debugger}) and cannot wait. Continue or detach it there "
        f"(gdb: `detach`), or end the debugger. {_REAPS_THEN}"
    )


CAUSE = CauseDefinition(
    code=CauseCode.PARENT_STOPPED,
    situation=(
        "the parent is stopped, frozen, starved of CPU or in uninterruptible sleep, and cannot wait"
    ),
    rule=rule,
    remediation=remedy,
    scenario="parent_stopped",
)
