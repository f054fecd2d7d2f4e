"""Why a zombie is there: from evidence to cause, confidence and advice. Pure.

The causes are asked in the order of their table. A rule that can only guess returns
`possible`, and then a surer one further down takes precedence. `certain` stands only
where the facts leave no other reading.
"""

from tracer.diagnosis.causes import CAUSES, unknown
from tracer.diagnosis.definition import POSSIBLE, RuleResult
from tracer.diagnosis.facts import Facts
from tracer.model import Cause, CauseCode, Evidence
from tracer.render.text import escape_untrusted

MAX_ADVICE_CHARACTERS = 700
"""In a log line; `tracer explain` prints all steps."""
_BY_CODE = {cause.code: cause for cause in CAUSES}


def diagnose(evidence: Evidence) -> Cause:
    """Return the cause of a zombie, as sure as the evidence allows."""
    code, result = _decide(evidence)
    return Cause(
        code,
        result.confidence,
        # These lines are read in terminals (`jq -r`), and processes choose their own names.
        tuple(map(escape_untrusted, result.findings)),
        advice(code, evidence),
    )


def _decide(evidence: Evidence) -> tuple[CauseCode, RuleResult]:
    if evidence.parent is None:
        return CauseCode.UNKNOWN, unknown.unreadable_parent(evidence)
    facts = Facts(evidence, evidence.parent)
    guess: tuple[CauseCode, RuleResult] | None = None
    for cause in CAUSES:
        result = cause.rule(facts)
        if result is None:
            continue
        if result.confidence is not POSSIBLE:
            return cause.code, result
        guess = guess or (cause.code, result)
    return guess or (CauseCode.UNKNOWN, unknown.rule(facts))


def remediation_steps(code: CauseCode, evidence: Evidence) -> tuple[str, ...]:
    """Return what to do about a cause, one step each, the most important one first."""
    return tuple(escape_untrusted(step) for step in _BY_CODE[code].remediation(evidence) if step)


def advice(code: CauseCode, evidence: Evidence) -> str:
    """Return the steps that fit into MAX_ADVICE_CHARACTERS, as one text."""
    steps = remediation_steps(code, evidence)
    text = ""
    for step in steps:
        longer = f"{text} {step}" if text else step
        if len(longer) <= MAX_ADVICE_CHARACTERS:
            text = longer
    return text or steps[0][: MAX_ADVICE_CHARACTERS - 1] + "…"
