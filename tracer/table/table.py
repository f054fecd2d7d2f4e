"""The table of zombies: ageing, each reported exactly once, storms. Pure: time is a parameter.

Observations may be lost, doubled or late; a snapshot is the truth. Whatever the
order, each zombie is detected at most once, and reaped at most once and only after
it was detected; after reconcile() the table holds what the snapshot holds.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tracer.model import (
    Aged,
    Gone,
    Identity,
    Observation,
    Snapshot,
    Storm,
    Transition,
    Zombie,
)
from tracer.table.ageing import Ageing
from tracer.table.listed import AGE_STEPS_NS
from tracer.table.parents import ParentIdentity
from tracer.table.reconcile import reconcile
from tracer.table.storm import StormCounter, StormRules


class Totals(NamedTuple):
    """Counts of all zombies reported, listed or in storms.

    Attributes:
        zombies: detected and unreaped now.
        detected, reaped: ever, of those known to this table.
    """

    zombies: int
    detected: int
    reaped: int


def _unreadable(_pid: int) -> Identity | None:
    return None


class Table:
    """Zombies between their death and their reaping.

    Args:
        min_age_ns: when a zombie is detected.
        rules: when a parent's zombies are only counted.
        parent_identity: reads which process has a pid; asked once per parent and call.
            Without it, a parent that dies is noticed by the next snapshot only.
    """

    def __init__(
        self,
        min_age_ns: int,
        rules: StormRules | None = None,
        parent_identity: ParentIdentity = _unreadable,
    ) -> None:
        self._ageing = Ageing(min_age_ns, rules or StormRules(), parent_identity)
        self._unreported: list[Transition] = []

    def apply(self, observations: Iterable[Observation], now_boot_ns: int) -> list[Transition]:
        """Take what a source reported."""
        out, ageing = self._begin(), self._ageing
        for observation in observations:
            if isinstance(observation, Gone):
                ageing.detect_ready(now_boot_ns, out)
                ageing.remove(observation.identity, observation.gone_boot_ns, out)
            else:
                ageing.add(observation, now_boot_ns)
                if ageing.many_ready:
                    ageing.detect_ready(now_boot_ns, out)
        ageing.detect_ready(now_boot_ns, out)
        ageing.report_storms(ageing.storms.changed(now_boot_ns), out)
        return out

    def reconcile(self, snapshot: Snapshot, now_boot_ns: int) -> list[Transition]:
        """Make the table equal to a snapshot: what it lacks is gone, what it has is here.

        The snapshot is taken after the newest apply(). Where reading it fails, the error
        goes on to the caller, and no zombie is taken for gone; what it brought until then
        is returned by the next call of apply(), reconcile() or tick().
        """
        out, ageing = self._begin(), self._ageing
        try:
            reconcile(ageing, snapshot, now_boot_ns, out)
        except BaseException:
            self._unreported = out
            ageing.drop_ready()
            raise
        ageing.report_storms(ageing.storms.changed(now_boot_ns), out)
        return out

    def tick(self, now_boot_ns: int) -> list[Transition]:
        """Return what time alone brings: detections, ages, the course of storms."""
        out, ageing = self._begin(), self._ageing
        for listed in ageing.listed.due(now_boot_ns):
            if listed.zombie.detected_boot_ns is None:
                ageing.detect(listed, now_boot_ns, out)
            else:
                age_ns = listed.zombie.age_ns(now_boot_ns)
                listed.step_ns = max(step for step in AGE_STEPS_NS if step <= age_ns)
                out.append(Aged(listed.zombie, listed.step_ns))
                ageing.listed.schedule(listed)
        ageing.report_storms(ageing.storms.changed(now_boot_ns), out)
        ageing.report_storms(ageing.storms.tick(now_boot_ns), out)
        ageing.listed.tidy()
        ageing.storms.tidy(now_boot_ns, ageing.listed.parents())
        return out

    def finish(self, now_boot_ns: int) -> list[Transition]:
        """Return the last report of every storm, with its totals: the agent ends."""
        out, ageing = self._begin(), self._ageing
        ageing.report_storms(ageing.storms.finish(now_boot_ns), out)
        return out

    def next_due_boot_ns(self) -> int | None:
        """Return when tick() next has something to report, if time alone can bring it."""
        dues = self._ageing.storms.dues()
        due = self._ageing.listed.next_due_boot_ns()
        if due is not None:
            dues.append(due)
        return min(dues, default=None)

    @property
    def wants_snapshot(self) -> bool:
        """Whether a storm's parent died: its report waits until reconcile() finds the adopter."""
        return self._ageing.storms.wants_snapshot

    def restore(self, zombie: Zombie, step_ns: int | None) -> None:
        """Put back a zombie that an earlier agent knew; what it reported is not repeated."""
        identity, ageing = zombie.child.identity, self._ageing
        if identity not in ageing.listed and identity not in ageing.storms:
            ageing.listed.add(zombie, step_ns)
            ageing.detected += zombie.detected_boot_ns is not None

    def restore_storm(self, counter: StormCounter, members: Iterable[tuple[int, int]]) -> None:
        """Put back a storm that an earlier agent reported, with its unreaped members."""
        self._ageing.detected += self._ageing.storms.restore(counter, members)

    def get(self, identity: Identity) -> Zombie | None:
        """Return a listed zombie: one that is reported individually, or too young yet."""
        listed = self._ageing.listed.get(identity)
        return None if listed is None else listed.zombie

    def __contains__(self, identity: Identity) -> bool:
        """Return whether a zombie is listed or counted."""
        return identity in self._ageing.listed or identity in self._ageing.storms

    def listed(self) -> Iterator[tuple[Zombie, int | None]]:
        """Yield the listed zombies, each with the highest age reported."""
        return ((listed.zombie, listed.step_ns) for listed in self._ageing.listed)

    def storms(self, now_boot_ns: int) -> list[Storm]:
        """Return the numbers of the zombies that are only counted, parent by parent."""
        return self._ageing.storms.storms(now_boot_ns)

    def storm_members(self) -> Iterator[tuple[Identity, Identity]]:
        """Yield (parent, zombie) of all that are only counted."""
        return self._ageing.storms.members()

    def storm_counters(self) -> Iterator[tuple[int, StormCounter]]:
        """Yield the storms that have zombies, each after its number."""
        return self._ageing.storms.counters()

    def storm_blocks(self) -> Iterator[bytes]:
        """Yield those that are only counted and the numbers of their storms, as bytes."""
        return self._ageing.storms.blocks()

    def siblings(self, parent_pid: int) -> int:
        """Return how many zombies that parent has, counted ones included."""
        return self._ageing.siblings(parent_pid)

    def totals(self) -> Totals:
        """Return the counts."""
        ageing = self._ageing
        return Totals(ageing.detected - ageing.reaped, ageing.detected, ageing.reaped)

    def _begin(self) -> list[Transition]:
        """Return what a failed call could not report."""
        self._ageing.parents.begin_pass()
        unreported, self._unreported = self._unreported, []
        return unreported
