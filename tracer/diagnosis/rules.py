"""Why a zombie is there: from evidence to cause, confidence and advice. Pure.

RULES is the contract's table of causes, in the order in which they are asked: first
what keeps any parent from waiting, then what the parent's waits say, then what only
their absence says. `certain` stands only where the facts leave no other reading; a
rule that can only guess says `possible`, and then a surer one further down goes first.
"""

from collections.abc import Callable
from typing import NamedTuple

from tracer.diagnosis import advice, findings
from tracer.diagnosis.causes import (
    init_does_not_reap,
    parent_never_waits,
    parent_stopped,
    slow_reaper,
)
from tracer.diagnosis.definition import POSSIBLE, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.model import Cause, CauseCode, Evidence
from tracer.render.text import escape_untrusted


class Rule(NamedTuple):
    """One line of the table of causes."""

    code: CauseCode
    situation: str
    judge: Callable[[Facts], RuleResult | None]


RULES: tuple[Rule, ...] = (
    Rule(CauseCode.TRACED, "a tracer holds it", parent_stopped.traced),
    Rule(
        CauseCode.RUNTIME_PARENT,
        "the parent is a runtime's shim or monitor",
        parent_stopped.runtime_parent,
    ),
    Rule(
        CauseCode.PARENT_STOPPED,
        "the parent is stopped, frozen or in D",
        parent_stopped.parent_stopped,
    ),
    Rule(
        CauseCode.SIGCHLD_IGNORED,
        "the kernel should have reaped it itself",
        parent_stopped.sigchld_ignored,
    ),
    Rule(
        CauseCode.SLOW_REAPER,
        "the parent has reaped earlier children, late",
        slow_reaper.slow_reaper,
    ),
    Rule(
        CauseCode.EXEC_ORPHAN,
        "an exec into the container left it behind",
        init_does_not_reap.exec_orphan,
    ),
    Rule(
        CauseCode.INIT_DOES_NOT_REAP,
        "adopted by a pid 1 that is no init",
        init_does_not_reap.init_does_not_reap,
    ),
    Rule(
        CauseCode.PARENT_WAITS_ELSEWHERE,
        "the parent waits, but only for other pids",
        parent_never_waits.waits_elsewhere,
    ),
    Rule(
        CauseCode.PARENT_NEVER_WAITS,
        "a living parent forked it and does not wait",
        parent_never_waits.never_waits,
    ),
)


def diagnose(evidence: Evidence) -> Cause:
    """Return the cause of a zombie, as sure as the evidence allows."""
    code, result = _decide(evidence)
    return Cause(
        code,
        result.confidence,
        # Sentences are read in terminals (`jq -r`), and processes name themselves.
        tuple(map(escape_untrusted, result.evidence)),
        escape_untrusted(advice.advise(code, evidence)),
    )


def _decide(evidence: Evidence) -> tuple[CauseCode, RuleResult]:
    if evidence.parent is None:
        return CauseCode.UNKNOWN, RuleResult(POSSIBLE, findings.no_parent(evidence))
    facts = Facts(evidence, evidence.parent)
    guess: tuple[CauseCode, RuleResult] | None = None
    for rule in RULES:
        result = rule.judge(facts)
        if result is None:
            continue
        if result.confidence is not POSSIBLE:
            return rule.code, result
        guess = guess or (rule.code, result)
    return guess or (CauseCode.UNKNOWN, RuleResult(POSSIBLE, findings.nothing(facts)))
