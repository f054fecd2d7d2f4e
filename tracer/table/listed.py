"""The listed zombies: those reported individually, and those still too young. Pure."""

import heapq
from collections import Counter
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from tracer.clock import NS
from tracer.model import Identity, Zombie

AGE_STEPS_NS = (60 * NS, 600 * NS, 3600 * NS, 86_400 * NS)
"""Ages at which a detected zombie is reported again: a minute, ten, an hour, a day."""

_NEVER = 1 << 63
_STALE_DUES = 1024


@dataclass(slots=True)
class ListedZombie:
    """One of them, with the time of its next report and the highest age reported."""

    zombie: Zombie
    due_boot_ns: int
    step_ns: int | None


class ListedZombies:
    """Listed zombies by identity, by due time and counted by parent.

    Args:
        min_age_ns: when a zombie is detected.
    """

    def __init__(self, min_age_ns: int) -> None:
        self._min_age_ns = min_age_ns
        self._zombies: dict[Identity, ListedZombie] = {}
        self._dues: list[tuple[int, Identity]] = []
        self._by_parent: Counter[int] = Counter()
        self.get = self._zombies.get
        """Returns a listed zombie by its identity, or None; asked for each of each snapshot."""

    def __contains__(self, identity: Identity) -> bool:
        return identity in self._zombies

    def __iter__(self) -> Iterator[ListedZombie]:
        return iter(self._zombies.values())

    def parents(self) -> int:
        """Return how many parents have listed zombies."""
        return len(self._by_parent)

    def of_parent(self, parent_pid: int) -> int:
        """Return how many listed zombies that parent has."""
        return self._by_parent[parent_pid]

    def add(self, zombie: Zombie, step_ns: int | None) -> ListedZombie:
        """List a zombie.

        Args:
            zombie: not listed yet.
            step_ns: the highest age reported; None when none was.
        """
        listed = ListedZombie(zombie, 0, step_ns)
        self._zombies[zombie.child.identity] = listed
        self._by_parent[zombie.child.parent_pid] += 1
        self.schedule(listed)
        return listed

    def schedule(self, listed: ListedZombie) -> None:
        """Set when it is reported next: at its detection, or at the next age."""
        zombie = listed.zombie
        since = zombie.child.dead_since_boot_ns
        since = zombie.first_seen_boot_ns if since is None else since
        if zombie.detected_boot_ns is None:
            listed.due_boot_ns = since + self._min_age_ns
        else:
            # Its detection reported the ages that it had reached by then.
            passed = max(zombie.age_ns(zombie.detected_boot_ns), listed.step_ns or 0)
            step = next((step for step in AGE_STEPS_NS if step > passed), None)
            if step is None:
                listed.due_boot_ns = _NEVER
                return
            listed.due_boot_ns = since + step
        heapq.heappush(self._dues, (listed.due_boot_ns, zombie.child.identity))

    def due(self, now_boot_ns: int) -> Iterator[ListedZombie]:
        """Yield those whose time has come. The caller reschedules or removes each."""
        while self._dues and self._dues[0][0] <= now_boot_ns:
            due, identity = heapq.heappop(self._dues)
            listed = self._zombies.get(identity)
            if listed is not None and listed.due_boot_ns == due:  # else reaped meanwhile
                yield listed

    def next_due_boot_ns(self) -> int | None:
        """Return the time of the next report, if there is one to come."""
        return self._dues[0][0] if self._dues else None

    def move(self, listed: ListedZombie, parent_pid: int) -> None:
        """Give it another parent."""
        child = listed.zombie.child
        self._leave(child.parent_pid)
        self._by_parent[parent_pid] += 1
        listed.zombie = replace(listed.zombie, child=replace(child, parent_pid=parent_pid))

    def remove(self, identity: Identity) -> ListedZombie | None:
        """Take a zombie out; None when it is not listed."""
        listed = self._zombies.pop(identity, None)
        if listed is not None:
            self._leave(listed.zombie.child.parent_pid)
        return listed

    def missing_from(self, identities: AbstractSet[Identity]) -> list[Identity]:
        """Return those that are listed and not in that set."""
        return [identity for identity in self._zombies if identity not in identities]

    def tidy(self) -> None:
        """Drop the due times of removed zombies once they outnumber the others."""
        if len(self._dues) > 2 * len(self._zombies) + _STALE_DUES:
            self._dues = [
                (listed.due_boot_ns, identity)
                for identity, listed in self._zombies.items()
                if listed.due_boot_ns != _NEVER
            ]
            heapq.heapify(self._dues)

    def _leave(self, parent_pid: int) -> None:
        self._by_parent[parent_pid] -= 1
        if self._by_parent[parent_pid] <= 0:
            del self._by_parent[parent_pid]
