"""What a rule of diagnosis finds. Pure."""

from typing import NamedTuple

from tracer.model import Confidence

CERTAIN, LIKELY, POSSIBLE = Confidence.CERTAIN, Confidence.LIKELY, Confidence.POSSIBLE


class RuleResult(NamedTuple):
    """What one rule finds: how sure, and the facts for it."""

    confidence: Confidence
    evidence: tuple[str, ...]
