"""Rules for parents that forked a child and wait for others, or for nobody. Pure."""

from tracer.clock import NS
from tracer.diagnosis import findings
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, RuleResult
from tracer.diagnosis.facts import FIRST_ROUND_NS, LONG_ENOUGH_NS, PATIENT_NS, Facts
from tracer.model import Confidence

_FEW = 2
"""Runtimes try out their wait calls when they start (Go does, for pidfds)."""


def waits_elsewhere(facts: Facts) -> RuleResult | None:
    """For parent_waits_elsewhere: it waits, but not for this one."""
    if facts.adopted or facts.parent_never_waits_by_nature:
        return None
    sure = _elsewhere(facts)
    return None if sure is None else RuleResult(_doubted(sure, facts), findings.elsewhere(facts))


def _elsewhere(facts: Facts) -> Confidence | None:
    if facts.blocked_for_any:
        return LIKELY if facts.non_sigchld_clone or facts.waits is None else POSSIBLE
    told = None if facts.waits is None or facts.waited_never else _told_elsewhere(facts)
    if facts.blocked_for_another:
        return CERTAIN if CERTAIN in {told, _blocked_elsewhere(facts)} else LIKELY
    return told


def _told_elsewhere(facts: Facts) -> Confidence | None:
    """Judge by the wait calls that were seen."""
    waits = facts.waits
    if waits is None or facts.reaped_just_now:
        return None
    if waits.any:
        return LIKELY if facts.waited_any_since else _elsewhere_after_any(facts)
    if facts.asked_for_this_one or (not waits.reaped and facts.asked_for_a_zombie):
        return None
    if facts.waited_since:
        settled = facts.age_ns >= LONG_ENOUGH_NS and facts.watched_all_its_life
        return CERTAIN if settled and waits.reaped and facts.adopted is False else LIKELY
    few = waits.specific <= _FEW and facts.waited_before_its_birth_only
    # Who reaped nobody looked in on living children, or tried its wait calls out at start.
    return None if few or not waits.reaped else LIKELY


def _blocked_elsewhere(facts: Facts) -> Confidence:
    """Judge a parent that is in a wait call for another pid at this moment."""
    waits = facts.waits
    if waits is None or waits.last_boot_ns is None:
        return LIKELY
    long_in_it = facts.now - waits.last_boot_ns >= LONG_ENOUGH_NS
    alone = facts.parent.threads == 1 and facts.adopted is False
    return CERTAIN if alone and long_in_it and facts.age_ns >= LONG_ENOUGH_NS else LIKELY


def _elsewhere_after_any(facts: Facts) -> Confidence | None:
    """Judge one that once waited for any child, and since this one died only for others."""
    waits = facts.waits
    if waits is None or not waits.specific or not facts.waited_since:
        return None
    return LIKELY


def never_waits(facts: Facts) -> RuleResult | None:
    """For parent_never_waits: it does not wait."""
    if facts.adopted or facts.blocked_for_another:
        return None
    sure = _never(facts)
    return None if sure is None else RuleResult(_doubted(sure, facts), findings.never(facts))


def _never(facts: Facts) -> Confidence | None:
    if facts.waits is None:
        settled = facts.age_ns >= PATIENT_NS or facts.parent_never_waits_by_nature
        return LIKELY if settled else POSSIBLE
    if facts.parent_never_waits_by_nature:
        return CERTAIN if facts.adopted is False else LIKELY
    if facts.waited_any_since:
        return None
    if facts.waited_never:
        return _never_seen_waiting(facts)
    return _not_any_more(facts)


def _never_seen_waiting(facts: Facts) -> Confidence:
    patience = PATIENT_NS if facts.may_still_come else LONG_ENOUGH_NS
    able = facts.adopted is False and facts.parent.state != "D"
    if facts.past_its_first_rounds and able and facts.age_ns >= patience:
        return CERTAIN
    # A parent that has just started may be about to make its first round; one that left
    # this one lying for a minute before anybody watched is hardly about to.
    if facts.watched_all_its_life:
        return LIKELY if facts.watched_ns >= FIRST_ROUND_NS else POSSIBLE
    long_dead = facts.age_ns >= PATIENT_NS and facts.observed_ns >= NS
    return LIKELY if long_dead or facts.observed_ns >= LONG_ENOUGH_NS else POSSIBLE


def _not_any_more(facts: Facts) -> Confidence:
    """Judge one that made wait calls once, none of them for this one."""
    if facts.parent_executed_since and facts.waited_before_its_birth_only:
        return LIKELY
    reaped_any = facts.waits is not None and facts.waits.reaped > 0
    if not reaped_any:
        return LIKELY if facts.age_ns >= LONG_ENOUGH_NS else POSSIBLE
    settled = facts.waited_before_its_birth_only and facts.age_ns >= PATIENT_NS
    return LIKELY if settled else POSSIBLE


def _doubted(sure: Confidence, facts: Facts) -> Confidence:
    """Be less sure of a pid 1's own guilt where nobody saw who forked: it may have adopted."""
    unseen = facts.adopted is None and facts.parent.is_init
    return POSSIBLE if unseen else sure
