"""Rules for what keeps any parent from waiting: tracers, runtimes, stops, dispositions. Pure."""

from tracer.diagnosis import findings, programs
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, RuleResult
from tracer.diagnosis.facts import Facts


def traced(facts: Facts) -> RuleResult | None:
    """For traced: somebody ptraces the zombie."""
    tracer_pid = facts.child.tracer_pid
    if tracer_pid is None:
        return None
    # strace's own child: the tracer is the parent too, and whether it would wait
    # without tracing nobody knows.
    sure = CERTAIN if tracer_pid != facts.parent.identity.pid else LIKELY
    return RuleResult(sure, findings.tracer(facts))


def runtime_parent(facts: Facts) -> RuleResult | None:
    """For runtime_parent: a shim or monitor has it."""
    named = programs.is_runtime(facts.parent)
    if named is False:
        return None
    # Runtimes live in the host's pid namespace; a tenant may call its program what it likes.
    on_host = facts.parent.vpid == facts.parent.identity.pid
    if named is None and not on_host:
        return None
    sure = CERTAIN if named and on_host else LIKELY
    return RuleResult(sure, findings.runtime(facts))


def parent_stopped(facts: Facts) -> RuleResult | None:
    """For parent_stopped: stopped, frozen or stuck in the kernel."""
    parent = facts.parent
    if parent.state in "Tt" or parent.frozen:
        had_waited = facts.waits is not None and facts.waits.any > 0 and not facts.waited_since
        sure = CERTAIN if had_waited and facts.adopted is not None else LIKELY
        return RuleResult(sure, findings.stopped(facts))
    if parent.state != "D" or facts.evidence.parent_unmoved_ns is None:
        return None
    if facts.reaped_just_now:
        return None
    # Each vfork passes through D; one that stays, and does not come to wait, is stuck. But
    # of many threads, which one would wait nobody knows.
    stuck = parent.threads_uninterruptible >= parent.threads and not facts.waited_of_late
    seen = facts.evidence.parent_unmoved_ns > 0
    return RuleResult(LIKELY if stuck and seen else POSSIBLE, findings.stopped(facts))


def sigchld_ignored(facts: Facts) -> RuleResult | None:
    """For sigchld_ignored: the kernel should have reaped it."""
    if not facts.parent.sigchld_ignored or facts.non_sigchld_clone:
        return None
    return RuleResult(LIKELY, findings.ignored(facts))
