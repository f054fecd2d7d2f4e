"""parent_waits_elsewhere: the parent does wait, but not for this child. Pure."""

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
from tracer.diagnosis.thresholds import LONG_ENOUGH_NS
from tracer.diagnosis.wording import Lines, origin, siblings, wait_history, zombie_for
from tracer.model import CauseCode, Confidence, Evidence

_FEW = 2
"""Runtimes try out their wait calls when they start (Go does, for pidfds)."""


def rule(facts: Facts) -> RuleResult | None:
    """Hold where the parent's wait calls are for others."""
    if facts.adopted or facts.parent_never_waits_by_nature:
        return None
    sure = _confidence(facts)
    if sure is None:
        return None
    return RuleResult(less_sure_if_adopted(sure, facts), findings(facts))


def _confidence(facts: Facts) -> Confidence | None:
    if facts.blocked_for_any:
        return LIKELY if facts.non_sigchld_clone or facts.waits is None else POSSIBLE
    by_calls = None if facts.waits is None or facts.waited_never else _by_calls(facts)
    if facts.blocked_for_another:
        return CERTAIN if CERTAIN in {by_calls, _by_blocking(facts)} else LIKELY
    return by_calls


def _by_calls(facts: Facts) -> Confidence | None:
    """Return how sure it is by the wait calls observed so far."""
    waits = facts.waits
    if waits is None or facts.reaped_just_now:
        return None
    if waits.any:
        return LIKELY if facts.waited_any_since else _after_any(facts)
    if facts.asked_for_this_one or (not waits.reaped and facts.asked_for_a_zombie):
        return None
    if facts.waited_since:
        settled = facts.age_ns >= LONG_ENOUGH_NS and facts.watched_all_its_life
        return CERTAIN if settled and waits.reaped and facts.adopted is False else LIKELY
    few = waits.specific <= _FEW and facts.waited_before_its_birth_only
    # A parent that reaped nothing only polled living children, or tried its calls out.
    return None if few or not waits.reaped else LIKELY


def _after_any(facts: Facts) -> Confidence | None:
    """Return how sure it is of a parent that waited for any child once, and now only for others."""
    waits = facts.waits
    if waits is None or not waits.specific or not facts.waited_since:
        return None
    return LIKELY


def _by_blocking(facts: Facts) -> Confidence:
    """Return how sure it is of a parent that is in a wait call for another child now."""
    waits = facts.waits
    if waits is None or waits.last_boot_ns is None:
        return LIKELY
    long_in_it = facts.now - waits.last_boot_ns >= LONG_ENOUGH_NS
    alone = facts.parent.threads == 1 and facts.adopted is False
    return CERTAIN if alone and long_in_it and facts.age_ns >= LONG_ENOUGH_NS else LIKELY


def findings(facts: Facts) -> Lines:
    """Say whom the parent waits for."""
    clone = (
        (
            (
                f"it was cloned with exit signal {facts.evidence.exit_signal} instead of SIGCHLD, "
                "so only wait calls with __WALL or __WCLONE return it"
            ),
        )
        if facts.non_sigchld_clone
        else ()
    )
    passed = facts.waited_any_since and not facts.non_sigchld_clone
    over = (
        ("the parent called wait() for any child after this exit but did not collect it",)
        if passed
        else ()
    )
    return (
        *clone,
        *origin(facts),
        *wait_history(facts),
        *over,
        zombie_for(facts),
        *siblings(facts),
    )


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Widen the wait call."""
    parent = evidence.parent
    return (
        _widen(Facts(evidence, parent)) if parent is not None else "",
        remediation.INIT_DOES_NOT_HELP,
        remediation.remove_zombies(evidence),
    )


def _widen(facts: Facts) -> str:
    who = remediation.who(facts.parent)
    if facts.non_sigchld_clone:
        return (
            f"{who} cannot collect this child with a plain wait call, because the child was cloned "
            "without SIGCHLD as its exit signal. Add __WALL to the wait call."
        )
    if facts.waited_any_since:
        return (
            f"{who} waits for any child but did not collect this one. Check whether it takes one "
            "child per SIGCHLD (signals merge: loop while waitpid(-1, …, WNOHANG) > 0), waits with "
            "WNOWAIT or __WNOTHREAD, or waits for a PID that no longer exists."
        )
    return (
        f"{who} waits only for specific PIDs or process groups, so it never collects this child. "
        "Let it wait for this child too, or for any child. "
        + how_to_wait(programs.language(facts.parent))
    )


CAUSE = CauseDefinition(
    code=CauseCode.PARENT_WAITS_ELSEWHERE,
    situation="the parent does wait, but only for other pids, or is blocked waiting for one",
    rule=rule,
    remediation=remedy,
    scenario="parent_waits_elsewhere",
)
