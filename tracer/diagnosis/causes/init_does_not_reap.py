"""init_does_not_reap: an orphan, adopted by a PID 1 or subreaper that does not reap. Pure."""

from tracer.diagnosis import programs, remediation
from tracer.diagnosis.definition import CERTAIN, LIKELY, POSSIBLE, CauseDefinition, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.how_to_wait import ANY_CHILD
from tracer.diagnosis.thresholds import FIRST_ROUND_NS, INHERITED_NS, LONG_ENOUGH_NS, PATIENT_NS
from tracer.diagnosis.wording import (
    Lines,
    adopter,
    never_waits,
    origin,
    siblings,
    wait_history,
    zombie_for,
)
from tracer.model import CauseCode, Confidence, Evidence, Process


def rule(facts: Facts) -> RuleResult | None:
    """Hold where its forker is gone and its adopter does not reap."""
    sure = _confidence(facts)
    return None if sure is None else RuleResult(sure, findings(facts))


def _confidence(facts: Facts) -> Confidence | None:
    if facts.adopted is False:
        return None
    if facts.adopted is None:
        return _perhaps_adopted(facts)
    if not facts.parent.is_init:
        # A child subreaper is the init of its descendants.
        return POSSIBLE if facts.waits is None or facts.waits.any else LIKELY
    sure = adopter_does_not_reap(facts)
    return LIKELY if sure is CERTAIN and facts.may_be_of_an_exec else sure


def adopter_does_not_reap(facts: Facts) -> Confidence | None:
    """Return how sure it is that this PID 1 does not reap what it adopts."""
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
    """Return how sure it is by its session and age, where its fork was not observed."""
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


def findings(facts: Facts) -> Lines:
    """Say who adopted it, and how that waits."""
    by_session = facts.adopted is None and facts.foreign_session
    session = (
        f"its session {facts.evidence.session} is neither its own nor its parent's: a process "
        "between them created it and is no longer its parent"
    )
    return (
        *origin(facts),
        *((session,) if by_session else ()),
        *never_waits(facts),
        adopter(facts),
        *wait_history(facts),
        zombie_for(facts),
        *siblings(facts),
    )


def remedy(evidence: Evidence) -> tuple[str, ...]:
    """Run an init."""
    workload, parent = remediation.workload_of(evidence), evidence.parent
    if parent is not None and not parent.is_init:
        return (*_subreaper(parent), remediation.remove_zombies(evidence))
    replaced = workload is not None and workload.command_replaced
    shared = workload is not None and not workload.share_process_namespace
    command = (
        " This pod's `command:` replaces the image's entrypoint, and with it any init in it: add "
        "the init to `command:` too."
    )
    return (
        remediation.RUN_AN_INIT + (command if replaced else ""),
        f"Or let the pod's pause process reap: {remediation.share_process_namespace(workload)} "
        "(the pod's containers then see each other's processes, and their files through "
        "/proc/PID/root)."
        if shared and workload is not None
        else "",
        f"To see the command: `{remediation.show_command(workload)}`."
        if replaced and workload is not None
        else "",
        (
            "Or keep daemons in the foreground (most have an option for it), or let the process "
            "that starts them wait for them."
        ),
        remediation.remove_zombies(evidence),
    )


def _subreaper(parent: Process) -> tuple[str, str]:
    return (
        (
            f"{remediation.who(parent)} made itself a child subreaper (PR_SET_CHILD_SUBREAPER), so "
            f"it has to wait for any child. {ANY_CHILD}"
        ),
        "Or run it without PR_SET_CHILD_SUBREAPER, under an init.",
    )


CAUSE = CauseDefinition(
    code=CauseCode.INIT_DOES_NOT_REAP,
    situation=(
        "an orphan adopted by the pid 1 of its PID namespace, or by a child subreaper, "
        "that does not reap what it adopts"
    ),
    rule=rule,
    remediation=remedy,
    scenario="init_does_not_reap",
)
