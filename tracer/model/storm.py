"""One parent's storm: more zombies than are worth a line each, so they are only counted."""

from dataclasses import dataclass
from enum import StrEnum

from tracer.model.cause import Cause
from tracer.model.process import Identity, Process
from tracer.model.workload import Attribution
from tracer.model.zombie import Zombie


class StormPhase(StrEnum):
    """The course of a storm."""

    BEGAN = "began"
    ONGOING = "ongoing"
    ENDED = "ended"
    """No more arrive; those that did are still there."""
    DRAINED = "drained"
    """None is left: they were reaped, or adopted by another process when the parent died."""


@dataclass(frozen=True, slots=True)
class Storm:
    """The zombies of one parent that are only counted.

    Attributes:
        parent: the process that has them; start_ticks is UNKNOWN_TICKS where it could not be read.
        phase: began, ongoing, ended, drained.
        zombies: unreaped zombies of the parent now, listed ones included.
        detected: zombies counted since the storm began, adopted ones included.
        reaped: how many of those were reaped.
        adopted: how many of those another process adopted because the parent died.
        rate_per_second: new zombies in the last interval, per second.
        oldest_age_ns: age of the oldest; None when unknown.
        samples: a few of them.
        began_boot_ns: when it began.
        new_detected, new_reaped: the increase since the last report of this storm.
    """

    parent: Identity
    phase: StormPhase
    zombies: int
    detected: int
    reaped: int
    rate_per_second: float
    oldest_age_ns: int | None
    samples: tuple[Zombie, ...]
    began_boot_ns: int
    new_detected: int = 0
    new_reaped: int = 0
    adopted: int = 0


@dataclass(frozen=True, slots=True)
class StormFacts:
    """What is known of a storm's parent, gathered once for all its zombies.

    Attributes:
        attribution: the container of the samples; empty when they are in several pods.
        parent: the process, as last read while it lived; None when it was never read.
        cause: the last diagnosis; None when there is none.
        parent_gone: the parent has died.
    """

    attribution: Attribution
    parent: Process | None
    cause: Cause | None
    parent_gone: bool = False
