"""Zombies in the table, and what the table says has happened to them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tracer.model.cause import Cause
from tracer.model.child import Child
from tracer.model.process import Process, Waits
from tracer.model.workload import Attribution


@dataclass(frozen=True, slots=True)
class Zombie:
    """A child in the table.

    Attributes:
        child: as the source saw it first, brought up to date by snapshots.
        first_seen_boot_ns: when the table learned of it.
        detected_boot_ns: when it passed the minimum age; None before that.
        siblings: other zombies of its parent at that moment.
    """

    child: Child
    first_seen_boot_ns: int
    detected_boot_ns: int | None = None
    siblings: int = 0

    def age_ns(self, now_boot_ns: int) -> int:
        """Return how long it has been dead; a lower bound when its exit was not seen."""
        since = self.child.dead_since_boot_ns
        return now_boot_ns - (self.first_seen_boot_ns if since is None else since)


@dataclass(frozen=True, slots=True)
class Record:
    """A zombie with everything that is known of it: what sinks render.

    Attributes:
        zombie: ages and facts of its death.
        age_ns: at the moment of the event.
        parent: its parent now.
        waits: how the parent waits.
        attribution: whose it is.
        cause: why; None when the event does not carry a diagnosis.
        command_line: the parent's, only when asked for.
        lifetime_ns: from death to reaping, for a reaped one.
    """

    zombie: Zombie
    age_ns: int
    parent: Process | None
    waits: Waits | None
    attribution: Attribution
    cause: Cause | None
    command_line: str | None = None
    lifetime_ns: int | None = None


class StormPhase(StrEnum):
    """The course of a storm."""

    BEGAN = "began"
    ONGOING = "ongoing"
    ENDED = "ended"
    """No more come; what came is still there."""
    DRAINED = "drained"
    """What came in it is reaped."""


@dataclass(frozen=True, slots=True)
class Storm:
    """One parent's flood of zombies, in numbers.

    Attributes:
        parent_pid: whose.
        phase: began, ongoing, ended, drained.
        zombies: of that parent, unreaped now, those told one by one included.
        detected: since the storm began, those not logged one by one.
        reaped: of those.
        new_detected, new_reaped: how many more these are than when it was told last.
        rate_per_second: detected in the last interval, per second.
        oldest_age_ns: of its zombies; None when unknown.
        samples: a few of them.
        began_boot_ns: when it began.
    """

    parent_pid: int
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


class Detected(NamedTuple):
    """A child passed the minimum age unreaped."""

    zombie: Zombie


class Aged(NamedTuple):
    """A detected zombie passed a further age."""

    zombie: Zombie
    step_ns: int


class Reaped(NamedTuple):
    """A detected zombie is gone. lifetime_ns is a lower bound where its exit was not seen."""

    zombie: Zombie
    gone_boot_ns: int
    lifetime_ns: int


class StormChanged(NamedTuple):
    """A storm began, goes on (once an interval), ended, or its last zombie was reaped."""

    storm: Storm


Transition = Detected | Aged | Reaped | StormChanged
"""What the table says has happened."""
