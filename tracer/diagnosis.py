"""Why a zombie is there: from evidence to cause, confidence and advice. Pure.

RULES is the contract's table of causes, in the order in which they are asked: first
what keeps any parent from waiting, then what the parent's waits say, then what only
their absence says. `certain` stands only where the facts leave no other reading; a
rule that can only guess says `possible`, and then a surer one further down goes first.
"""

from collections.abc import Callable
from typing import NamedTuple

from tracer import advice, programs, testimony
from tracer.clock import NS
from tracer.facts import INHERITED_NS, LONG_ENOUGH_NS, PATIENT_NS, Facts
from tracer.records import Cause, CauseCode, Confidence, Evidence

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE

_REPEATED_LATE = 3
"""So many late reapings are a habit."""
_PATIENCE = 3
"""A slow reaper is believed to come back within so many times its average delay."""
_FIRST_ROUND_NS = 5 * NS
"""A parent watched for so long without a wait call is likely to make none."""
_FEW = 2
"""Runtimes try out their wait calls when they start (Go does, for pidfds)."""


class Verdict(NamedTuple):
    """What one rule finds: how sure, and the facts for it."""

    confidence: Confidence
    evidence: tuple[str, ...]


class Rule(NamedTuple):
    """One line of the table of causes."""

    code: CauseCode
    situation: str
    judge: Callable[[Facts], Verdict | None]


def _traced(facts: Facts) -> Verdict | None:
    tracer_pid = facts.child.tracer_pid
    if tracer_pid is None:
        return None
    # strace's own child: the tracer is the parent too, and whether it would wait
    # without tracing nobody knows.
    sure = CERTAIN if tracer_pid != facts.parent.identity.pid else LIKELY
    return Verdict(sure, testimony.tracer(facts))


def _runtime_parent(facts: Facts) -> Verdict | None:
    named = programs.is_runtime(facts.parent)
    if named is False:
        return None
    # Runtimes live in the host's pid namespace; a tenant may call its program what it likes.
    on_host = facts.parent.vpid == facts.parent.identity.pid
    if named is None and not on_host:
        return None
    sure = CERTAIN if named and on_host else LIKELY
    return Verdict(sure, testimony.runtime(facts))


def _parent_stopped(facts: Facts) -> Verdict | None:
    parent = facts.parent
    if parent.state in "Tt" or parent.frozen:
        had_waited = facts.waits is not None and facts.waits.any > 0 and not facts.waited_since
        sure = CERTAIN if had_waited and facts.adopted is not None else LIKELY
        return Verdict(sure, testimony.stopped(facts))
    if parent.state != "D" or facts.evidence.parent_unmoved_ns is None:
        return None
    # Each vfork passes through D; one that stays, and does not come to wait, is stuck. But
    # of many threads, which one would wait nobody knows.
    stuck = parent.threads_uninterruptible >= parent.threads and not facts.waited_since
    seen = facts.evidence.parent_unmoved_ns > 0
    return Verdict(LIKELY if stuck and seen else POSSIBLE, testimony.stopped(facts))


def _sigchld_ignored(facts: Facts) -> Verdict | None:
    if not facts.parent.sigchld_ignored or facts.odd_clone:
        return None
    return Verdict(LIKELY, testimony.ignored(facts))


def _slow_reaper(facts: Facts) -> Verdict | None:
    waits = facts.waits
    if waits is None or facts.odd_clone:
        return None
    if facts.reaped_just_now:
        return Verdict(LIKELY, testimony.slow(facts))
    if not waits.reaped:
        return None
    if facts.parent_never_waits_by_nature or facts.blocked_for_any:
        return None
    if facts.parent_executed_since and facts.waited_before_its_birth_only:
        return None
    sure = _slow_by_any(facts) if waits.any else _slow_by_name(facts)
    return None if sure is None else Verdict(sure, testimony.slow(facts))


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


def _exec_orphan(facts: Facts) -> Verdict | None:
    if not facts.entered or facts.adopted is False:
        return None
    if facts.adopted is None and not facts.parent.is_init:
        return None
    witnessed = facts.child.origin is not None and facts.adopted
    sure = CERTAIN if witnessed and _will_not_adopt(facts) is CERTAIN else LIKELY
    return Verdict(sure, testimony.exec_orphan(facts))


def _init_does_not_reap(facts: Facts) -> Verdict | None:
    if facts.adopted is False:
        return None
    if facts.adopted is None:
        sure = _perhaps_adopted(facts)
    elif facts.parent.is_init:
        sure = _will_not_adopt(facts)
    else:
        # A child subreaper is the init of its descendants.
        sure = POSSIBLE if facts.waits is None or facts.waits.any else LIKELY
    return None if sure is None else Verdict(sure, testimony.init(facts))


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
    if facts.watched_all_its_life and settled:
        return CERTAIN
    return LIKELY if facts.watched_ns >= _FIRST_ROUND_NS else POSSIBLE


def _perhaps_adopted(facts: Facts) -> Confidence | None:
    """Judge by its session and its age, where nobody saw who forked it."""
    if not facts.parent.is_init or programs.is_known_init(facts.parent):
        return None
    if facts.waited_any_since or facts.blocked_for_any:
        return POSSIBLE
    if facts.strange_session:
        return LIKELY
    if facts.parent_never_waits_by_nature and facts.born_after_parent_ns > INHERITED_NS:
        return LIKELY
    return None


def _parent_waits_elsewhere(facts: Facts) -> Verdict | None:
    if facts.adopted or facts.parent_never_waits_by_nature:
        return None
    sure = _elsewhere(facts)
    return None if sure is None else Verdict(_doubted(sure, facts), testimony.elsewhere(facts))


def _doubted(sure: Confidence, facts: Facts) -> Confidence:
    """Be less sure of a pid 1's own guilt where nobody saw who forked: it may have adopted."""
    unseen = facts.adopted is None and facts.parent.is_init
    return POSSIBLE if unseen else sure


def _elsewhere(facts: Facts) -> Confidence | None:
    if facts.blocked_for_any:
        return LIKELY if facts.odd_clone or facts.waits is None else POSSIBLE
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


def _parent_never_waits(facts: Facts) -> Verdict | None:
    if facts.adopted or facts.blocked_for_another:
        return None
    sure = _never(facts)
    return None if sure is None else Verdict(_doubted(sure, facts), testimony.never(facts))


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
    if facts.watched_all_its_life and able and facts.age_ns >= patience:
        return CERTAIN
    # A parent that has just started may be about to make its first round; one that left
    # this one lying for a minute before anybody watched is hardly about to.
    if facts.watched_all_its_life:
        return LIKELY if facts.watched_ns >= _FIRST_ROUND_NS else POSSIBLE
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


RULES: tuple[Rule, ...] = (
    Rule(CauseCode.TRACED, "a tracer holds it", _traced),
    Rule(CauseCode.RUNTIME_PARENT, "the parent is a runtime's shim or monitor", _runtime_parent),
    Rule(CauseCode.PARENT_STOPPED, "the parent is stopped, frozen or in D", _parent_stopped),
    Rule(CauseCode.SIGCHLD_IGNORED, "the kernel should have reaped it itself", _sigchld_ignored),
    Rule(CauseCode.SLOW_REAPER, "the parent has reaped earlier children, late", _slow_reaper),
    Rule(CauseCode.EXEC_ORPHAN, "an exec into the container left it behind", _exec_orphan),
    Rule(CauseCode.INIT_DOES_NOT_REAP, "adopted by a pid 1 that is no init", _init_does_not_reap),
    Rule(
        CauseCode.PARENT_WAITS_ELSEWHERE,
        "the parent waits, but only for other pids",
        _parent_waits_elsewhere,
    ),
    Rule(
        CauseCode.PARENT_NEVER_WAITS,
        "a living parent forked it and does not wait",
        _parent_never_waits,
    ),
)


def diagnose(evidence: Evidence) -> Cause:
    """Return the cause of a zombie, as sure as the evidence allows."""
    code, verdict = _decide(evidence)
    return Cause(code, verdict.confidence, verdict.evidence, advice.advise(code, evidence))


def _decide(evidence: Evidence) -> tuple[CauseCode, Verdict]:
    if evidence.parent is None:
        return CauseCode.UNKNOWN, Verdict(POSSIBLE, testimony.no_parent(evidence))
    facts = Facts(evidence, evidence.parent)
    guess: tuple[CauseCode, Verdict] | None = None
    for rule in RULES:
        verdict = rule.judge(facts)
        if verdict is None:
            continue
        if verdict.confidence is not POSSIBLE:
            return rule.code, verdict
        guess = guess or (rule.code, verdict)
    return guess or (CauseCode.UNKNOWN, Verdict(POSSIBLE, testimony.nothing(facts)))
