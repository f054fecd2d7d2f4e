"""slow_reaper: the parent has reaped earlier children, late. Pure."""

from tracer.clock import NS
from tracer.diagnosis import programs, remediation
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.how_to_wait import how_to_wait
from tracer.diagnosis.wording import Lines, siblings, wait_history, zombie_for
from tracer.model import CauseCode, Confidence, Evidence

_REPEATED_LATE = 3
"""So many late reapings are a habit."""
_PATIENCE = 3
"""A slow reaper is expected back within so many times its average delay."""


def rule(facts: Facts) -> RuleResult | None:
    """Hold where the parent's record says that it will reap this child too."""
    sure = _confidence(facts)
    return None if sure is None else RuleResult(sure, findings(facts))


def _confidence(facts: Facts) -> Confidence | None:
    waits = facts.waits
    if waits is None or facts.non_sigchld_clone:
        return None
    if facts.reaped_just_now:
        return LIKELY
    if not waits.reaped:
        return None
    if facts.parent_never_waits_by_nature or facts.blocked_for_any:
        return None
    if facts.parent_executed_since and facts.waited_before_its_birth_only:
        return None
    return _by_any(facts) if waits.any else _by_pid(facts)


def _by_any(facts: Facts) -> Confidence | None:
    """Return how sure it is of a parent that waits for any child."""
    waits = facts.waits
    if waits is None:
        return None
    if facts.waited_any_since:
        # It waited and left this one. A parent that takes one child at each turn does so
        # when several are dead.
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


def _by_pid(facts: Facts) -> Confidence | None:
    """Return how sure it is of a parent that waits for its children one by one, by PID."""
    waits = facts.waits
    if waits is None or not waits.reaped_late or facts.adopted:
        return None
    if facts.waited_since or facts.blocked_for_another:
        return None
    return LIKELY if 2 * waits.reaped_late >= waits.reaped else POSSIBLE


def findings(facts: Facts) -> Lines:
    """Say what the parent reaped, and how late."""
    gone = "it was reaped while this evidence was gathered"
    just_now = (gone,) if facts.reaped_just_now else ()
    return (*just_now, *wait_history(facts), zombie_for(facts), *siblings(facts))


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Reap at once."""
    parent = evidence.parent
    if parent is None:
        return (remediation.remove_zombies(evidence),)
    return (
        (
            f"{remediation.who(parent)} reaps late, so this zombie will probably go away by "
            "itself. It matters only if zombies arrive faster than they are reaped."
        ),
        "Let it wait as soon as SIGCHLD arrives, for every child that has exited. "
        + how_to_wait(programs.language(parent)),
        (
            "A SIGCHLD handler has to loop (while waitpid(-1, …, WNOHANG) > 0), because "
            "signals merge."
        ),
        remediation.INIT_DOES_NOT_HELP,
    )


CAUSE = CauseDefinition(
    code=CauseCode.SLOW_REAPER,
    situation=("the parent has reaped earlier children, late; this one will likely be reaped too"),
    rule=rule,
    remediation=remedy,
    scenario="slow_reaper",
)
