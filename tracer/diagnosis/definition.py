"""What a cause consists of: its rule, its remediation and its emulator scenario. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tracer.diagnosis.facts import Facts
from tracer.model import CauseCode, Confidence, Evidence

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE


class RuleResult(NamedTuple):
    """That a cause holds: how sure that is, and the findings that led there, one line each."""

    confidence: Confidence
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseDefinition:
    """One cause of the contract.

    Attributes:
        code: its name in log lines, metrics and on the command line.
        situation: when it applies, in one line, as in docs/causes.md.
        rule: returns a result where the facts show the cause, None where they do not.
        remediation: returns what to do, one step each, the most important one first.
        scenario: of `tracer emulate --cause` that produces it; None when there is none.
        no_scenario: why there is none; empty when there is one.
    """

    code: CauseCode
    situation: str
    rule: Callable[[Facts], RuleResult | None]
    remediation: Callable[[Evidence], tuple[str, ...]]
    scenario: str | None = None
    no_scenario: str = ""


def less_sure_if_adopted(sure: Confidence, facts: Facts) -> Confidence:
    """Return possible for a PID 1 that may have adopted the child: its fork was not observed."""
    unseen = facts.adopted is None and facts.parent.is_init
    return POSSIBLE if unseen else sure
