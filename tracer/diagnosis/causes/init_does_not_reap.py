"""Rules for orphans: who adopted them, and whether that reaps. Pure."""

from tracer.diagnosis import findings, programs
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, RuleResult
from tracer.diagnosis.facts import FIRST_ROUND_NS, INHERITED_NS, LONG_ENOUGH_NS, PATIENT_NS, Facts
from tracer.model import Confidence


def exec_orphan(facts: Facts) -> RuleResult | None:
    """For exec_orphan: its line began outside its pid namespace, and is broken."""
    if not facts.entered or facts.adopted is False:
        return None
    if facts.adopted is None and not facts.parent.is_init:
        return None
    witnessed = facts.child.origin is not None and facts.adopted
    sure = CERTAIN if witnessed and _will_not_adopt(facts) is CERTAIN else LIKELY
    return RuleResult(sure, findings.exec_orphan(facts))


def init_does_not_reap(facts: Facts) -> RuleResult | None:
    """For init_does_not_reap: adopted, and not by an init."""
    if facts.adopted is False:
        return None
    if facts.adopted is None:
        sure = _perhaps_adopted(facts)
    elif facts.parent.is_init:
        sure = _will_not_adopt(facts)
        if sure is CERTAIN and facts.may_be_of_an_exec:
            sure = LIKELY
    else:
        # A child subreaper is the init of its descendants.
        sure = POSSIBLE if facts.waits is None or facts.waits.any else LIKELY
    return None if sure is None else RuleResult(sure, findings.init(facts))


def _will_not_adopt(facts: Facts) -> Confidence | None:
    """Say how sure it is that this pid 1 does not reap what it adopts."""
    known_init = programs.is_known_init(facts.parent)
    if facts.parent_never_waits_by_nature:
        return CERTAIN
    if facts.waits is None:
        return None if known_init else LIKELY
    if facts.waits.any:
        return POSSIBLE if known_init or facts.adopted_after_death else LIKELY
    patience = PATIENT_NS if facts.may_still_come else LONG_ENOUGH_NS
    settled = facts.age_ns >= patience and not facts.adopted_after_death
    if facts.past_its_first_rounds and settled:
        return CERTAIN
    return LIKELY if facts.watched_ns >= FIRST_ROUND_NS else POSSIBLE


def _perhaps_adopted(facts: Facts) -> Confidence | None:
    """Judge by its session and its age, where nobody saw who forked it."""
    if not facts.parent.is_init or programs.is_known_init(facts.parent):
        return None
    if facts.waited_any_since or facts.blocked_for_any:
        return POSSIBLE
    if facts.foreign_session:
        # Without BPF the machine's own init gets the benefit of the doubt: it reaps as a rule.
        patient = facts.watched_ns >= FIRST_ROUND_NS or facts.parent_never_waits_by_nature
        unseen = facts.waits is None and facts.parent.identity.pid != 1
        return LIKELY if patient or unseen else POSSIBLE
    if facts.parent_never_waits_by_nature and facts.born_after_parent_ns > INHERITED_NS:
        return LIKELY
    return None
