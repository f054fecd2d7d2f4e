"""parent_never_waits: a living parent does not wait for its children. Pure."""

from tracer.clock import NS
from tracer.diagnosis import programs, remediation
from tracer.diagnosis.definition import (
    CERTAIN,
    LIKELY,
    POSSIBLE,
    CauseDefinition,
    RuleResult,
    less_sure_if_adopted,
)
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.how_to_wait import how_to_wait
from tracer.diagnosis.thresholds import FIRST_ROUND_NS, LONG_ENOUGH_NS, PATIENT_NS
from tracer.diagnosis.wording import (
    Lines,
    disposition,
    never_waits,
    origin,
    siblings,
    wait_history,
    zombie_for,
)
from tracer.model import CauseCode, Confidence, Evidence


def rule(facts: Facts) -> RuleResult | None:
    """Hold where no wait call of the parent could have collected this child."""
    if facts.adopted or facts.blocked_for_another:
        return None
    sure = _confidence(facts)
    if sure is None:
        return None
    return RuleResult(less_sure_if_adopted(sure, facts), findings(facts))


def _confidence(facts: Facts) -> Confidence | None:
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
    # A parent that has just started may be about to make its first round; one that has left
    # this child for a minute before the source attached is unlikely to.
    if facts.watched_all_its_life:
        return LIKELY if facts.watched_ns >= FIRST_ROUND_NS else POSSIBLE
    long_dead = facts.age_ns >= PATIENT_NS and facts.observed_ns >= NS
    return LIKELY if long_dead or facts.observed_ns >= LONG_ENOUGH_NS else POSSIBLE


def _not_any_more(facts: Facts) -> Confidence:
    """Return how sure it is of a parent that waited once, but not for this child."""
    if facts.parent_executed_since and facts.waited_before_its_birth_only:
        return LIKELY
    reaped_any = facts.waits is not None and facts.waits.reaped > 0
    if not reaped_any:
        return LIKELY if facts.age_ns >= LONG_ENOUGH_NS else POSSIBLE
    settled = facts.waited_before_its_birth_only and facts.age_ns >= PATIENT_NS
    return LIKELY if settled else POSSIBLE


def findings(facts: Facts) -> Lines:
    """Say that the parent forked it and did not wait."""
    return (
        *origin(facts),
        *never_waits(facts),
        *wait_history(facts),
        zombie_for(facts),
        *siblings(facts),
        *disposition(facts),
    )


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Add a wait call, or let another process be the parent."""
    if evidence.parent is None:
        return (remediation.remove_zombies(evidence),)
    facts = Facts(evidence, evidence.parent)
    name = remediation.program(facts.parent)
    rest = (remediation.remove_zombies(evidence), remediation.KILLING_HAS_NO_EFFECT)
    if facts.parent_never_waits_by_nature:
        fix = (
            f"{name} replaced the shell that forked this child, and {name} never calls wait(). "
            f"Run an init as the parent (`tini -- sh -c …`, without `exec {name}`), or end the "
            f"script with `wait` instead of {name}."
        )
        return (fix, *rest)
    if facts.parent_executed_since:
        fix = (
            f"{name} replaced the program that forked this child (exec), so it does not know about "
            f"it. Run {name} as a child of its own under an init (`tini -- sh -c …`, without "
            "`exec`), or start the other job elsewhere."
        )
        return (fix, *rest)
    return (
        f"{remediation.who(facts.parent)} has to wait for its children. "
        + how_to_wait(programs.language(facts.parent)),
        remediation.INIT_DOES_NOT_HELP,
        *rest,
    )


CAUSE = CauseDefinition(
    code=CauseCode.PARENT_NEVER_WAITS,
    situation="a living parent forked it and does not wait for its children",
    rule=rule,
    remediation=remedy,
    scenario="parent_never_waits",
)
