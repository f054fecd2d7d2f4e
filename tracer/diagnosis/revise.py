"""Revises a diagnosis after the zombie was reaped. Pure.

A parent that is alive when its zombie disappears has reaped it: nobody else could. That
refutes that it never waits, or waits for others only; the earlier evidence stays in the line.
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
        parent: the process that reaped it.
        cause: as diagnosed while the zombie was there.
        lifetime_ns: from exit to reaping; a lower bound where the exit was not observed.
    """
    if cause.code not in _REFUTED:
        return cause
    reaped = escape_untrusted(
        f"parent {wording.name(parent)} reaped it {wording.duration(lifetime_ns)} after it exited, "
        "so it does reap, but late; the evidence before that:"
    )
    return replace(cause, confidence=Confidence.POSSIBLE, evidence=(reaped, *cause.evidence))
