"""Which zombies there are now, counted as the rows of `tracer scan` need them."""

import heapq
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tracer.clock import boot_ns
from tracer.commands.knowledge import Knowledge
from tracer.commands.zombie_records import RecordBuilder
from tracer.model import Attribution, CgroupKey, Child, Identity, Snapshot
from tracer.options import Options
from tracer.render.groups import Group, group_by_pod, merge, owner_key

MOST_ZOMBIES = 20_000
"""Rows of single zombies; the others are only counted."""
MOST_PARENTS = 5_000
"""Parents that are diagnosed; the others are only counted, those with the fewest zombies."""
_REMEMBERED = 10_000
"""Answers to whether the filters accept a place."""


class By(StrEnum):
    """What a row of `tracer scan` stands for."""

    PARENT = "parent"
    ZOMBIE = "zombie"
    POD = "pod"


_Place = tuple[int | None, Hashable]
"""The pid of a parent and a cgroup; None for any of them."""


@dataclass(slots=True)
class _Counted:
    """Zombies of one parent, and where it matters of one cgroup.

    Attributes:
        child: the oldest of them.
        since_boot_ns: when that one died; 0 when unknown.
        zombies: how many they are.
    """

    child: Child
    since_boot_ns: int
    zombies: int = 1


class Scan:
    """One look at the machine. Its memory does not grow with the number of zombies.

    Args:
        chosen: the options of the command.
        knowledge: what it draws on.

    Attributes:
        elsewhere: zombies that the filters left out.
        left_out: zombies that no row stands for.
        parents_left_out: whether rows of pods count only some of the parents.
    """

    def __init__(self, chosen: Options, knowledge: Knowledge) -> None:
        self.elsewhere = 0
        self.left_out = 0
        self.parents_left_out = False
        self._chosen = chosen
        self._knowledge = knowledge
        self._saved = knowledge.saved
        self._records = RecordBuilder(
            knowledge.proc,
            knowledge.source,
            knowledge.attributor,
            command_lines=chosen.command_lines,
        )
        self._now = boot_ns()
        self._has_waited = False
        self._zombies_of: dict[int | None, int] = {}
        self._accepted: dict[Hashable, bool] = {}

    def rows(self, by: By, *, oldest_first: bool = False) -> Iterator[Group]:
        """Take a look and yield its rows, those with the most zombies first.

        Args:
            by: what a row stands for.
            oldest_first: the order of rows of single zombies, else that of the snapshot.
        """
        snapshot = self._knowledge.source.look()
        self._now = boot_ns()
        if by is By.ZOMBIE:
            yield from self._zombies(snapshot, oldest_first=oldest_first)
            return
        groups = list(map(self._group, self._counted(snapshot, by=by)))
        if by is By.PARENT:
            yield from merge(groups, _parent_pid)
        else:
            # One parent may have several cgroups in a pod: it counts as one parent there.
            of_pods = merge(groups, lambda group: (_parent_pid(group), _owner(group)))
            yield from group_by_pod(of_pods)

    # --- one by one ----------------------------------------------------------------------

    def _zombies(self, snapshot: Snapshot, *, oldest_first: bool) -> Iterator[Group]:
        found: list[_Counted] = []
        for index, key in enumerate(snapshot.cgroup_keys()):
            since = self._dead_since(key)
            if not self._old_enough(since):
                continue
            self._zombies_of[key[2]] = self._zombies_of.get(key[2], 0) + 1
            place = (key[2], key[4:]) if snapshot.has_cgroups else None
            if not self._accepts(snapshot, index, place):
                self.elsewhere += 1
                continue
            if len(found) == MOST_ZOMBIES:
                self.left_out += 1
            else:
                found.append(_Counted(snapshot.child(index), since))
        if oldest_first:
            found.sort(key=lambda counted: counted.since_boot_ns or self._now)
        found.reverse()
        while found:  # what was shown is forgotten
            yield self._group(found.pop())

    # --- by parent -----------------------------------------------------------------------

    def _counted(self, snapshot: Snapshot, *, by: By) -> list[_Counted]:
        """Count zombies by parent, and where it matters by cgroup; diagnose those with the most.

        The others are left out, or for rows of pods counted by cgroup alone.
        """
        # A parent's zombies need not be in its pod, nor all in one: a pod may share its
        # PID namespace among its containers, or the host's.
        by_cgroup = by is By.POD or self._chosen.filters.any
        counts: dict[_Place, _Counted] = {}
        takes_all = not self._saved and not self._chosen.min_age_ns
        for index, key in enumerate(snapshot.cgroup_keys()):
            since = key[3] if takes_all else self._dead_since(key)
            if not takes_all and not self._old_enough(since):
                continue
            place = self._place(snapshot, key) if by_cgroup else (key[2], None)
            if place is None:
                continue
            if place not in counts and len(counts) >= MOST_ZOMBIES:
                place = _of_no_parent(place)
            counted = counts.get(place)
            if counted is not None:
                self._count_one_more(counted, snapshot, index, since)
            elif self._accepts(snapshot, index, place):
                counts[place] = _Counted(snapshot.child(index), since)
            else:
                self.elsewhere += 1
        for (parent_pid, _), counted in counts.items():
            self._zombies_of[parent_pid] = self._zombies_of.get(parent_pid, 0) + counted.zombies
        return self._most(counts, by=by)

    def _most(self, counts: "dict[_Place, _Counted]", *, by: By) -> list[_Counted]:
        of_parents = (item for item in counts.items() if item[0][0] is not None)
        most = heapq.nlargest(MOST_PARENTS, of_parents, key=lambda item: item[1].zombies)
        rest = counts.keys() - {place for place, _ in most}
        self.left_out = sum(counts[place].zombies for place in rest)
        found = [counted for _, counted in most]
        if by is By.POD and rest:
            self.left_out, self.parents_left_out = 0, True
            folded: dict[_Place, _Counted] = {}
            for place in rest:
                self._fold(folded, _of_no_parent(place), counts[place])
            found += folded.values()
        return found

    def _fold(self, folded: "dict[_Place, _Counted]", place: _Place, more: _Counted) -> None:
        counted = folded.setdefault(place, more)
        if counted is more:
            return
        counted.zombies += more.zombies
        if more.since_boot_ns and more.since_boot_ns < (counted.since_boot_ns or self._now):
            counted.child, counted.since_boot_ns = more.child, more.since_boot_ns

    def _place(self, snapshot: Snapshot, key: CgroupKey) -> _Place | None:
        """Return what the zombies of one row have in common; None when this one is gone."""
        pid, start_ticks, parent_pid, _, cgroup_id, hierarchy = key
        if snapshot.has_cgroups:
            return parent_pid, (cgroup_id, hierarchy)
        cgroup = self._knowledge.proc.cgroup(pid)
        # If a pid is still that process, a file just read by its pid was of it.
        stat = self._knowledge.proc.stat(pid)
        same = stat is not None and stat.start_ticks == start_ticks
        return (parent_pid, cgroup) if same else None

    def _count_one_more(
        self, counted: _Counted, snapshot: Snapshot, index: int, since: int
    ) -> None:
        """Count one zombie; the oldest of a place stands for it."""
        counted.zombies += 1
        if since and since < (counted.since_boot_ns or self._now):
            counted.child, counted.since_boot_ns = snapshot.child(index), since

    # --- both ----------------------------------------------------------------------------

    def _dead_since(self, key: CgroupKey) -> int:
        return self._saved.dead_since(Identity(key[0], key[1]), key[3])

    def _old_enough(self, since_boot_ns: int) -> bool:
        return (since_boot_ns or self._now) + self._chosen.min_age_ns <= self._now

    def _accepts(self, snapshot: Snapshot, index: int, place: Hashable | None) -> bool:
        """Return whether the filters accept a zombie; asked once for each place."""
        if not self._chosen.filters.any:
            return True
        known = None if place is None else self._accepted.get(place)
        if known is None:
            attribution = self._attribute(self._saved.merged(snapshot.child(index)))
            known = self._chosen.filters.matches(attribution)
            if place is not None and len(self._accepted) < _REMEMBERED:
                self._accepted[place] = known
        return known

    def _group(self, counted: _Counted) -> Group:
        """Attribute and diagnose what was counted."""
        child = self._saved.merged(counted.child)
        attribution = self._attribute(child)
        siblings = max(0, self._zombies_of.get(counted.child.parent_pid, 1) - 1)
        record, _ = self._records.build(child, attribution, siblings, self._now)
        return Group(record, zombies=counted.zombies)

    def _attribute(self, child: Child) -> Attribution:
        """Attribute a zombie. The names of pods are waited for when the first is in one."""
        found = self._records.attribute(child)
        if found.container is None or self._has_waited:
            return found
        self._has_waited = True
        self._knowledge.wait_for_pod_names()
        return self._knowledge.attributor.attribute_cgroup(found.cgroup)


def _of_no_parent(place: _Place) -> _Place:
    return None, place[1]


def _parent_pid(group: Group) -> int:
    return group.record.zombie.child.parent_pid


def _owner(group: Group) -> Hashable:
    return owner_key(group.record.attribution)
