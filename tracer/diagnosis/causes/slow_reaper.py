"""The rule for parents that reap, but late. Pure."""

from tracer.clock import NS
from tracer.diagnosis import findings
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.model import Confidence

_REPEATED_LATE = 3
"""So many late reapings are a habit."""
_PATIENCE = 3
"""A slow reaper is believed to come back within so many times its average delay."""


def slow_reaper(facts: Facts) -> RuleResult | None:
    """For slow_reaper: it reaps, late."""
    waits = facts.waits
    if waits is None or facts.non_sigchld_clone:
        return None
    if facts.reaped_just_now:
        return RuleResult(LIKELY, findings.slow(facts))
    if not waits.reaped:
        return None
    if facts.parent_never_waits_by_nature or facts.blocked_for_any:
        return None
    if facts.parent_executed_since and facts.waited_before_its_birth_only:
        return None
    sure = _slow_by_any(facts) if waits.any else _slow_by_name(facts)
    return None if sure is None else RuleResult(sure, findings.slow(facts))


def _slow_by_any(facts: Facts) -> Confidence | None:
    """Judge a parent that waits for any child."""
    waits = facts.waits
    if waits is None:
        return None
    if facts.waited_any_since:
        # It came and left this one. One that takes a single child at each turn does so
        # when more are dead.
        backlog = facts.evidence.siblings > 0 and waits.reaped_late > 0
        soon = facts.age_ns <= _PATIENCE * facts.mean_late_ns + 5 * NS
        return LIKELY if backlog and soon else None
    if waits.reaped_late:
        habit = waits.reaped_late >= _REPEATED_LATE and facts.evidence.waits_complete
        due = facts.age_ns <= _PATIENCE * facts.mean_late_ns + 2 * NS
        return CERTAIN if habit and due and not facts.blocked_for_another else LIKELY
    if facts.blocked_for_another:
        return None
    if facts.takes_turns or (facts.parent.sigchld_caught and facts.took_another_at_its_death):
        return LIKELY if facts.takes_turns else POSSIBLE
    return None


def _slow_by_name(facts: Facts) -> Confidence | None:
    """Judge a parent that waits for its children one by one, by their pids."""
    waits = facts.waits
    if waits is None or not waits.reaped_late or facts.adopted:
        return None
    if facts.waited_since or facts.blocked_for_another:
        return None
    return LIKELY if 2 * waits.reaped_late >= waits.reaped else POSSIBLE
