"""The protocol of a source of zombies, and what a source may have lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tracer.model.cause import BlockedWait
from tracer.model.child import Child, Observation, Snapshot
from tracer.model.process import Forker, Identity, Waits


@dataclass(frozen=True, slots=True)
class Losses:
    """What may have been missed, by the place where it was counted. Each count only grows.

    Attributes:
        map_full: dead processes without room in the kernel's table.
        queue_full: deaths without room in the queues in which they age.
        ring_full: reapings without room in the ring buffer.
        recursion_misses: times that the kernel skipped the hook of an exit or a release.
        parse_errors: records and files that could not be parsed.
        forks_lost: forks without room, or whose hook was skipped: the forker stays unknown.
        waits_lost: processes without room for counting their waits.
        waits_skipped: times that the kernel skipped the hook of a wait or an exec.
        releases_missed: reapings that the kernel did not announce, found by checking.
        cgroup_names_lost: cgroups without room for their names: the path stays unknown.
    """

    map_full: int = 0
    queue_full: int = 0
    ring_full: int = 0
    recursion_misses: int = 0
    parse_errors: int = 0
    forks_lost: int = 0
    waits_lost: int = 0
    waits_skipped: int = 0
    releases_missed: int = 0
    cgroup_names_lost: int = 0

    @property
    def total(self) -> int:
        """All after which the table may be wrong until the next snapshot."""
        return (
            self.map_full
            + self.queue_full
            + self.ring_full
            + self.recursion_misses
            + self.parse_errors
        )


class Source(Protocol):
    """A source of zombies. One thread owns it.

    Other threads may call look(), waits(), forker(), blocked_waits() and losses() at any time,
    also while the owner closes it: then these raise. A snapshot or look is read by the thread
    that took it.

    Constructing one changes nothing; start() attaches. What start(), poll() or
    snapshot() raises is a PermanentError (this source cannot work, or no longer
    works: the caller falls back) or a TemporaryError.
    """

    name: str
    """core, bcc or proc."""
    attached_boot_ns: int | None
    """Since when every death is seen; None when deaths are not seen."""

    def start(self) -> None:
        """Attach."""

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when poll() has something, if there is one."""

    def next_poll_boot_ns(self, now_boot_ns: int) -> int:
        """Return when poll() next wants to be called, whether or not fileno() is readable."""

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Return dead children that reached the minimum age, and reaped ones reported before.

        May return children younger than the minimum age; never blocks.
        """

    def set_min_age(self, min_age_ns: int) -> None:
        """Have poll() return children from that age on.

        A lower age: those that have passed it come with the next poll(). A higher one: those
        that were returned are not returned again. For ages from 1 s on; a lower one than
        that may be exceeded by 0.1 s.
        """

    def young(self, now_boot_ns: int) -> Sequence[Child]:
        """Return zombies that poll() will return when they reach the minimum age.

        Only what the last poll() learned, and 2,000 of them at most, the newest; some may have
        been reaped since. Empty where deaths are not seen one by one.
        """

    def snapshot(self) -> Snapshot:
        """Return every zombie on the machine; dead leaders with living threads are not zombies.

        May leave out those whose death was seen and who are younger than the minimum
        age: poll() will return them.
        """

    def look(self) -> Snapshot:
        """Return every zombie on the machine, of any age, with the history that is known.

        Changes nothing of what poll() and snapshot() return.
        """

    def losses(self) -> Losses:
        """Return what was lost since start(), ever growing."""

    def exits(self) -> int | None:
        """Return the number of processes that died since start(); None when not seen."""

    def waits(self, identity: Identity) -> Waits | None:
        """Return how that process waited and how its children fared; None when not seen."""

    def forker(self, identity: Identity) -> Forker | None:
        """Return the process that forked that living one, for explain; None when not seen."""

    def blocked_waits(self, identity: Identity) -> tuple[BlockedWait, ...] | None:
        """Return the wait calls in which threads of that process are now.

        None where that is unknown. An empty tuple does not say that it never waits; and of a
        process that is stopped or frozen, not even that it is in no wait call.
        """

    def close(self) -> None:
        """Detach. A second call does nothing."""
