"""Zombies in the table, and what the table says has happened to them."""

from dataclasses import dataclass

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
