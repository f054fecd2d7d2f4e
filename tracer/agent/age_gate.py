"""Holds back what the source reports for followers before the agent's own minimum age."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tracer.agent.partial_snapshot import PartialSnapshot
from tracer.model import Child, Gone, Identity, Observation, Snapshot, SnapshotKey
from tracer.table.table import Table

MOST_WAITING = 10_000
"""Children held back at a time. The table takes further ones early, and holds back their reports:
only their number of siblings is then another one than without followers."""

ParentOf = Callable[[Identity], int | None]
"""Returns the pid of a zombie's parent now; None when it is gone or cannot be read."""


class AgeGate:
    """Between the source and the agent's own table: that sees what it would without followers.

    A follower with a lower minimum age makes the source report children earlier. In the
    table they would count as siblings and toward its bounds, and be saved. So a child
    whose death was seen waits here until it is of the agent's own minimum age; if it is
    reaped before, the table never learns of it.

    Args:
        min_age_ns: the agent's own.
        parent_of: asked for each child that is let through: its parent may have died.

    Attributes:
        lowered: the source reports children younger than min_age_ns.
    """

    def __init__(self, min_age_ns: int, parent_of: ParentOf) -> None:
        self.min_age_ns = min_age_ns
        self.lowered = False
        self._parent_of = parent_of
        self._waiting: dict[Identity, Child] = {}
        self._dues: list[tuple[int, Identity]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, identity: object) -> bool:
        return identity in self._waiting

    def get(self, identity: Identity) -> Child | None:
        """Return a child that waits here."""
        return self._waiting.get(identity)

    def take(self, observations: Sequence[Observation], now_boot_ns: int) -> Sequence[Observation]:
        """Return what is for the table now; young children stay here."""
        if not self.lowered and not self._waiting:
            return observations
        passed: list[Observation] = []
        for observation in observations:
            if isinstance(observation, Gone):
                if self._waiting.pop(observation.identity, None) is None:
                    passed.append(observation)
            elif not self.hold(observation, now_boot_ns):
                passed.append(observation)
        return passed

    def hold(self, child: Child, now_boot_ns: int) -> bool:
        """Keep a child here, if it is too young and its death was seen."""
        if not self.lowered or child.exit_boot_ns is None or len(self._waiting) >= MOST_WAITING:
            return False
        due = child.exit_boot_ns + self.min_age_ns
        if due <= now_boot_ns:
            return False
        if child.identity not in self._waiting:
            heapq.heappush(self._dues, (due, child.identity))
        self._waiting[child.identity] = child
        return True

    def release(self, now_boot_ns: int) -> list[Child]:
        """Return the children that have reached the agent's minimum age."""
        released = []
        while self._dues and self._dues[0][0] <= now_boot_ns:
            child = self._waiting.pop(heapq.heappop(self._dues)[1], None)
            if child is not None:  # else it was reaped
                parent_pid = self._parent_of(child.identity) or child.parent_pid
                released.append(replace(child, parent_pid=parent_pid))
        return released

    def next_due_boot_ns(self) -> int | None:
        """Return when release() is to be called; None when no child waits."""
        return self._dues[0][0] if self._dues else None

    def filtered(self, snapshot: Snapshot, table: Table, now_boot_ns: int) -> Snapshot:
        """Return a snapshot for the table, without what waits here or has to.

        Args:
            snapshot: newer than all that waits here; not read yet.
            table: the agent's own; what it has stays in the snapshot.
            now_boot_ns: now.
        """
        if not self.lowered and not self._waiting:
            return snapshot
        return _WithoutYoung(snapshot, self, table, now_boot_ns)

    def forget_others(self, seen: set[Identity]) -> None:
        """Drop the children that a snapshot, read to its end, does not show: they were reaped."""
        for identity in self._waiting.keys() - seen:
            del self._waiting[identity]


class _WithoutYoung(PartialSnapshot):
    """A snapshot for the agent's own table."""

    def __init__(self, snapshot: Snapshot, gate: AgeGate, table: Table, now_boot_ns: int) -> None:
        super().__init__(snapshot)
        self._gate = gate
        self._table = table
        self._now_boot_ns = now_boot_ns

    def _selected(self) -> Iterator[tuple[int, SnapshotKey]]:
        old = self._now_boot_ns - self._gate.min_age_ns
        seen: set[Identity] = set()
        for place, key in enumerate(self._snapshot.keys()):
            if key[:2] in self._gate or (key[3] > old and self._hold(place, key)):
                seen.add(Identity(*key[:2]))
            else:
                yield place, key
        self._gate.forget_others(seen)

    def _hold(self, place: int, key: SnapshotKey) -> bool:
        """Keep a young zombie that only the snapshot shows: poll() will not return it any more."""
        if Identity(*key[:2]) in self._table:
            return False
        return self._gate.hold(self._snapshot.child(place), self._now_boot_ns)
