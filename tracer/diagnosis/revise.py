"""What a reaping says of the diagnosis that was made before it. Pure.

A parent that lives when its zombie goes has reaped it: nobody else could. That it waits
for nobody, or never for this one, is refuted then; what it looked like stays on record.
"""

from dataclasses import replace

from tracer.diagnosis import wording
from tracer.model import Cause, CauseCode, Confidence, Process
from tracer.render.text import escape_untrusted

_REFUTED = frozenset(
    {
        CauseCode.PARENT_NEVER_WAITS,
        CauseCode.PARENT_WAITS_ELSEWHERE,
        CauseCode.INIT_DOES_NOT_REAP,
    }
)


def reaped_by(parent: Process, cause: Cause, lifetime_ns: int) -> Cause:
    """Return the cause of a zombie that its living parent has reaped after all.

    Args:
        parent: who reaped it.
        cause: as it was diagnosed while the zombie was there.
        lifetime_ns: from its death to its reaping; a lower bound where the exit was not seen.
    """
    if cause.code not in _REFUTED:
        return cause
    late = wording.duration(lifetime_ns)
    reaped = escape_untrusted(
        f"parent {wording.name(parent)} lives and has reaped it, {late} after death"
    )
    return replace(
        cause,
        confidence=Confidence.POSSIBLE,
        evidence=(f"{reaped}: it reaps late; before that it was said:", *cause.evidence),
    )
