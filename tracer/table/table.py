"""The table of zombies: ageing, each told exactly once, storms. Pure: time is a parameter.

Observations may be lost, doubled or late; a snapshot is the truth. Whatever the
order, each zombie is detected at most once, and reaped at most once and only after
it was detected; after reconcile() the table holds what the snapshot holds.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tracer.clock import NS
from tracer.model import (
    Aged,
    Child,
    Detected,
    Gone,
    Identity,
    Observation,
    Reaped,
    Snapshot,
    Storm,
    StormChanged,
    Transition,
    Zombie,
)
from tracer.table.storm import StormCounter, StormRules
from tracer.table.storm_tracker import StormTracker

AGE_STEPS_NS = (60 * NS, 600 * NS, 3600 * NS, 86_400 * NS)
"""Ages at which a detected zombie is told of again: a minute, ten, an hour, a day."""

_NEVER = 1 << 63
_STALE_DUES = 1024
_READY = 512
"""New zombies of one moment that are listed before the first is told, for its siblings."""


class Totals(NamedTuple):
    """Counts of everything told, one by one or in storms.

    Attributes:
        zombies: detected and unreaped now.
        detected, reaped: ever, of those known to this table.
    """

    zombies: int
    detected: int
    reaped: int


@dataclass(slots=True)
class _Tracked:
    zombie: Zombie
    due_boot_ns: int
    step_ns: int | None


class Table:
    """Zombies between their death and their reaping."""

    def __init__(self, min_age_ns: int, rules: StormRules | None = None) -> None:
        self._min_age_ns = min_age_ns
        self._tracked: dict[Identity, _Tracked] = {}
        self._dues: list[tuple[int, Identity]] = []
        self._by_parent: Counter[int] = Counter()
        self._ready: list[_Tracked] = []
        self._unreported: list[Transition] = []
        self._storms = StormTracker(rules or StormRules(), self._by_parent.__getitem__)
        self._detected = self._reaped = 0

    def apply(self, observations: Iterable[Observation], now_boot_ns: int) -> list[Transition]:
        """Take what a source reported."""
        out = self._take_unreported()
        for observation in observations:
            if isinstance(observation, Gone):
                self._detect_ready(now_boot_ns, out)
                self._remove(observation.identity, observation.gone_boot_ns, out)
            else:
                self._add(observation, now_boot_ns)
                if len(self._ready) >= _READY:
                    self._detect_ready(now_boot_ns, out)
        self._detect_ready(now_boot_ns, out)
        self._report_storms(self._storms.begun(now_boot_ns), out)
        return out

    def reconcile(self, snapshot: Snapshot, now_boot_ns: int) -> list[Transition]:
        """Make the table equal to a snapshot: what it lacks is gone, what it has is here.

        The snapshot is taken after the newest apply(). Where reading it fails, the
        error goes on to the caller, and nothing is taken for gone; what it brought
        until then is told by the next call of apply(), reconcile() or tick().
        """
        out = self._take_unreported()
        try:
            self._compare(snapshot, now_boot_ns, out)
        except BaseException:
            self._unreported = out
            self._ready.clear()  # they are due: tick() detects them
            raise
        self._report_storms(self._storms.begun(now_boot_ns), out)
        return out

    def _compare(self, snapshot: Snapshot, now_boot_ns: int, out: list[Transition]) -> None:
        seen: set[Identity] = set()
        counted = array("I")
        oldest: dict[int, int] = {}
        wanting = self._storms.wanting_samples()
        number_of = self._storms.number
        for index, (pid, start_ticks, parent_pid, dead_since) in enumerate(snapshot.keys()):
            number = number_of(pid, start_ticks)
            if number is not None:
                counted.append(pid)
                if dead_since and dead_since < oldest.get(number, _NEVER):
                    oldest[number] = dead_since
                if number in wanting:
                    # Those it had are reaped, or it was restored from a file.
                    siblings = max(0, self.siblings(parent_pid) - 1)
                    sample = Zombie(snapshot.child(index), now_boot_ns, now_boot_ns, siblings)
                    if not self._storms.add_sample(number, sample):
                        wanting.discard(number)
                continue
            identity = Identity(pid, start_ticks)
            tracked = self._tracked.get(identity)
            if tracked is not None:
                self._move(tracked, parent_pid)
            elif self._only_counted(parent_pid, dead_since, now_boot_ns):
                # By its key alone: a parent may have a million of them.
                self._count(identity, parent_pid, dead_since, now_boot_ns, None)
                counted.append(pid)
                continue
            else:
                self._add(snapshot.child(index), now_boot_ns)
            seen.add(identity)
            if len(self._ready) >= _READY:
                counted.extend(self._detect_ready(now_boot_ns, out))
        counted.extend(self._detect_ready(now_boot_ns, out))
        self._storms.correct_oldest(oldest)
        self._remove_missing(snapshot.taken_boot_ns, seen, counted, out)

    def _take_unreported(self) -> list[Transition]:
        untold, self._unreported = self._unreported, []
        return untold

    def _remove_missing(
        self, taken_boot_ns: int, seen: set[Identity], counted: "array[int]", out: list[Transition]
    ) -> None:
        for identity in [identity for identity in self._tracked if identity not in seen]:
            self._remove(identity, taken_boot_ns, out)
        if len(counted) != len(self._storms):
            for identity in self._storms.missing_from(counted):
                self._remove(identity, taken_boot_ns, out)

    def tick(self, now_boot_ns: int) -> list[Transition]:
        """Tell what time alone brings: detections, ages, the course of storms."""
        out = self._take_unreported()
        while self._dues and self._dues[0][0] <= now_boot_ns:
            due, identity = heapq.heappop(self._dues)
            tracked = self._tracked.get(identity)
            if tracked is None or tracked.due_boot_ns != due:
                continue  # reaped meanwhile
            if tracked.zombie.detected_boot_ns is None:
                self._detect(tracked, now_boot_ns, out)
            else:
                age_ns = tracked.zombie.age_ns(now_boot_ns)
                tracked.step_ns = max(step for step in AGE_STEPS_NS if step <= age_ns)
                out.append(Aged(tracked.zombie, tracked.step_ns))
                self._schedule(tracked)
        self._report_storms(self._storms.begun(now_boot_ns), out)
        self._report_storms(self._storms.tick(now_boot_ns), out)
        self._tidy(now_boot_ns)
        return out

    def next_due_boot_ns(self) -> int | None:
        """Return when tick() next has something to tell, if time alone can bring it."""
        dues = self._storms.dues()
        if self._dues:
            dues.append(self._dues[0][0])
        return min(dues, default=None)

    def restore(self, zombie: Zombie, step_ns: int | None) -> None:
        """Put back a zombie that an earlier agent knew: what was told is not told again."""
        identity = zombie.child.identity
        if identity not in self._tracked and identity not in self._storms:
            self._track(zombie, step_ns)

    def restore_storm(self, counter: StormCounter, members: Iterable[tuple[int, int]]) -> None:
        """Put back a storm that an earlier agent told of, with its unreaped members."""
        self._detected += self._storms.restore(counter, members)

    def get(self, identity: Identity) -> Zombie | None:
        """Return a zombie that is told of one by one, or not old enough yet."""
        tracked = self._tracked.get(identity)
        return None if tracked is None else tracked.zombie

    def listed(self) -> Iterator[tuple[Zombie, int | None]]:
        """Yield those told of one by one or not old enough yet, with the highest age told."""
        return ((tracked.zombie, tracked.step_ns) for tracked in self._tracked.values())

    def storms(self, now_boot_ns: int) -> list[Storm]:
        """Return the numbers of those that are only counted, parent by parent."""
        return self._storms.storms(now_boot_ns)

    def storm_members(self) -> Iterator[tuple[int, Identity]]:
        """Yield those that are only counted, each after the pid of the parent it came from."""
        return self._storms.members()

    def storm_counters(self) -> Iterator[tuple[int, StormCounter]]:
        """Yield the storms that have zombies, each after its number."""
        return self._storms.counters()

    def storm_blocks(self) -> Iterator[bytes]:
        """Yield those that are only counted and the numbers of their storms, as bytes."""
        return self._storms.blocks()

    def siblings(self, parent_pid: int) -> int:
        """Return how many zombies of that parent there are, counted ones included."""
        return self._by_parent[parent_pid] + self._storms.zombies_of(parent_pid)

    def totals(self) -> Totals:
        """Return the counts."""
        return Totals(self._detected - self._reaped, self._detected, self._reaped)

    def _add(self, child: Child, now_boot_ns: int) -> None:
        identity, parent_pid = child.identity, child.parent_pid
        tracked = self._tracked.get(identity)
        if tracked is not None:
            self._move(tracked, parent_pid)
        elif identity not in self._storms:
            dead_since = child.dead_since_boot_ns or 0
            zombie = Zombie(child, now_boot_ns)
            if self._only_counted(parent_pid, dead_since, now_boot_ns):
                self._count(identity, parent_pid, dead_since, now_boot_ns, zombie)
                return
            tracked = self._track(zombie, None)
            if tracked.due_boot_ns <= now_boot_ns:
                self._ready.append(tracked)

    def _track(self, zombie: Zombie, step_ns: int | None) -> _Tracked:
        tracked = _Tracked(zombie, 0, step_ns)
        self._tracked[zombie.child.identity] = tracked
        self._by_parent[zombie.child.parent_pid] += 1
        self._detected += zombie.detected_boot_ns is not None
        self._schedule(tracked)
        return tracked

    def _schedule(self, tracked: _Tracked) -> None:
        zombie = tracked.zombie
        since = zombie.child.dead_since_boot_ns
        since = zombie.first_seen_boot_ns if since is None else since
        if zombie.detected_boot_ns is None:
            tracked.due_boot_ns = since + self._min_age_ns
        else:
            # Ages it had passed when it was detected are told by that line.
            passed = max(zombie.age_ns(zombie.detected_boot_ns), tracked.step_ns or 0)
            step = next((step for step in AGE_STEPS_NS if step > passed), None)
            if step is None:
                tracked.due_boot_ns = _NEVER
                return
            tracked.due_boot_ns = since + step
        heapq.heappush(self._dues, (tracked.due_boot_ns, zombie.child.identity))

    def _detect_ready(self, now_boot_ns: int, out: list[Transition]) -> list[int]:
        """Detect what came old enough; return the pids of those that are only counted."""
        ready, self._ready = self._ready, []
        for tracked in ready:
            self._detect(tracked, now_boot_ns, out)
        identities = (tracked.zombie.child.identity for tracked in ready)
        return [identity.pid for identity in identities if identity not in self._tracked]

    def _detect(self, tracked: _Tracked, now_boot_ns: int, out: list[Transition]) -> None:
        zombie = tracked.zombie
        child = zombie.child
        if self._storms.admits(child.parent_pid, now_boot_ns):
            siblings = self.siblings(child.parent_pid) - 1
            tracked.zombie = replace(zombie, detected_boot_ns=now_boot_ns, siblings=siblings)
            self._detected += 1
            out.append(Detected(tracked.zombie))
            self._schedule(tracked)
        else:
            self._forget(child.identity)
            since = child.dead_since_boot_ns or zombie.first_seen_boot_ns
            self._count(child.identity, child.parent_pid, since, now_boot_ns, zombie)

    def _only_counted(self, parent_pid: int, dead_since_boot_ns: int, now_boot_ns: int) -> bool:
        since = dead_since_boot_ns or now_boot_ns
        return since + self._min_age_ns <= now_boot_ns and self._storms.storming(parent_pid)

    def _count(
        self,
        identity: Identity,
        parent_pid: int,
        dead_since_boot_ns: int,
        now_boot_ns: int,
        zombie: Zombie | None,
    ) -> None:
        if zombie is not None:
            siblings = max(0, self.siblings(parent_pid))
            zombie = replace(zombie, detected_boot_ns=now_boot_ns, siblings=siblings)
        self._detected += 1
        self._storms.count(identity, parent_pid, dead_since_boot_ns, now_boot_ns, zombie)

    def _report_storms(self, storms: Iterable[Storm], out: list[Transition]) -> None:
        """Tell storms with all zombies of the parent, those told one by one included."""
        out.extend(
            StormChanged(replace(storm, zombies=self.siblings(storm.parent_pid)))
            for storm in storms
        )

    def _move(self, tracked: _Tracked, parent_pid: int) -> None:
        child = tracked.zombie.child
        if child.parent_pid != parent_pid:
            self._leave_parent(child.parent_pid)
            self._by_parent[parent_pid] += 1
            tracked.zombie = replace(tracked.zombie, child=replace(child, parent_pid=parent_pid))

    def _remove(self, identity: Identity, gone_boot_ns: int, out: list[Transition]) -> None:
        if self._storms.discard(identity):
            self._reaped += 1
            return
        tracked = self._forget(identity)
        if tracked is not None and tracked.zombie.detected_boot_ns is not None:
            self._reaped += 1
            lifetime_ns = max(0, tracked.zombie.age_ns(gone_boot_ns))
            out.append(Reaped(tracked.zombie, gone_boot_ns, lifetime_ns))

    def _forget(self, identity: Identity) -> _Tracked | None:
        tracked = self._tracked.pop(identity, None)
        if tracked is not None:
            self._leave_parent(tracked.zombie.child.parent_pid)
        return tracked

    def _leave_parent(self, parent_pid: int) -> None:
        self._by_parent[parent_pid] -= 1
        if self._by_parent[parent_pid] <= 0:
            del self._by_parent[parent_pid]

    def _tidy(self, now_boot_ns: int) -> None:
        """Drop what is left of zombies and parents that are gone."""
        if len(self._dues) > 2 * len(self._tracked) + _STALE_DUES:
            self._dues = [
                (tracked.due_boot_ns, identity)
                for identity, tracked in self._tracked.items()
                if tracked.due_boot_ns != _NEVER
            ]
            heapq.heapify(self._dues)
        self._storms.tidy(now_boot_ns, len(self._by_parent))
