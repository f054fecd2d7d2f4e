"""Which zombies there are now, counted as the rows of `tracer scan` need them."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tracer.agent import build
from tracer.clock import boot_ns
from tracer.commands import saved_facts
from tracer.commands.pod_names import wait_for_pod_names
from tracer.commands.zombie_records import RecordBuilder
from tracer.model import Attribution, Child, Identity, Snapshot, Source
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.render.groups import Group, group_by_pod, merge, owner_key


class By(StrEnum):
    """What a row of `tracer scan` stands for."""

    PARENT = "parent"
    ZOMBIE = "zombie"
    POD = "pod"


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
    """One snapshot of the machine.

    Args:
        chosen: the options of the command.
        proc: the host's /proc.
        source: started.
    """

    def __init__(self, chosen: Options, proc: ProcFs, source: Source) -> None:
        self._chosen = chosen
        self._proc = proc
        self._source = source
        self._identification = build.identification(chosen, proc)
        self._records = RecordBuilder(
            proc,
            source,
            self._identification.attributor,
            command_lines=chosen.command_lines,
        )
        self._saved = saved_facts.load(chosen, proc)
        self._now = boot_ns()

    def rows(self, by: By) -> list[Group]:
        """Take a snapshot and return its rows, those with the most zombies first.

        Rows of single zombies come in the snapshot's order.
        """
        groups = list(self._matching(self._count(by)))
        if by is By.ZOMBIE:
            return groups
        if by is By.PARENT:
            return merge(groups, _parent_pid)
        # One parent may have several cgroups in a pod: it counts as one parent there.
        return group_by_pod(merge(groups, lambda group: (_parent_pid(group), _owner(group))))

    def _count(self, by: By) -> list[_Counted]:
        """Take a snapshot and count its zombies, at least by what separates the rows."""
        snapshot = self._source.snapshot()
        self._now = boot_ns()
        if by is By.ZOMBIE:
            return list(self._each(snapshot))
        if by is By.POD or self._chosen.filters.any:
            # A parent's zombies need not be in its pod, nor all in one: a pod may share its
            # PID namespace among its containers, or the host's.
            return self._counted_by_cgroup(snapshot)
        return self._counted_by_parent(snapshot)

    def _each(self, snapshot: Snapshot) -> Iterator[_Counted]:
        for index, (pid, start_ticks, _, dead_since) in enumerate(snapshot.keys()):
            since = self._saved.dead_since(Identity(pid, start_ticks), dead_since)
            if self._old_enough(since):
                yield _Counted(snapshot.child(index), since)

    def _counted_by_parent(self, snapshot: Snapshot) -> list[_Counted]:
        counts: dict[Hashable, _Counted] = {}
        takes_all = self._takes_all()
        for index, (pid, start_ticks, parent_pid, dead_since) in enumerate(snapshot.keys()):
            since = dead_since
            if not takes_all:
                since = self._saved.dead_since(Identity(pid, start_ticks), dead_since)
                if not self._old_enough(since):
                    continue
            self._add(counts, parent_pid, snapshot, index, since)
        return list(counts.values())

    def _counted_by_cgroup(self, snapshot: Snapshot) -> list[_Counted]:
        counts: dict[Hashable, _Counted] = {}
        takes_all, has_cgroups = self._takes_all(), snapshot.has_cgroups
        for index, key in enumerate(snapshot.cgroup_keys()):
            pid, start_ticks, parent_pid, since, cgroup_id, hierarchy = key
            if not takes_all:
                since = self._saved.dead_since(Identity(pid, start_ticks), since)
                if not self._old_enough(since):
                    continue
            place: Hashable = (parent_pid, cgroup_id, hierarchy)
            if not has_cgroups:
                place = (parent_pid, self._proc.cgroup(pid))
                if not self._is_there(Identity(pid, start_ticks)):
                    continue
            self._add(counts, place, snapshot, index, since)
        return list(counts.values())

    def _takes_all(self) -> bool:
        """Whether no age has to be compared, which saves half the time of a snapshot."""
        return not self._saved and not self._chosen.min_age_ns

    def _is_there(self, identity: Identity) -> bool:
        """Whether a pid is still that process: then a file just read by its pid was of it."""
        stat = self._proc.stat(identity.pid)
        return stat is not None and stat.start_ticks == identity.start_ticks

    def _add(
        self,
        counts: dict[Hashable, _Counted],
        place: Hashable,
        snapshot: Snapshot,
        index: int,
        since: int,
    ) -> None:
        """Count one zombie; the oldest of a place stands for it."""
        counted = counts.get(place)
        if counted is None:
            counts[place] = _Counted(snapshot.child(index), since)
            return
        counted.zombies += 1
        if since and since < (counted.since_boot_ns or self._now):
            counted.child, counted.since_boot_ns = snapshot.child(index), since

    def _old_enough(self, since_boot_ns: int) -> bool:
        return (since_boot_ns or self._now) + self._chosen.min_age_ns <= self._now

    def _matching(self, counts: list[_Counted]) -> Iterator[Group]:
        """Attribute and diagnose what was counted; yield what the filters let through."""
        for counted in counts:
            counted.child = self._saved.merged(counted.child)
        zombies_of: dict[int, int] = {}
        for counted in counts:
            parent_pid = counted.child.parent_pid
            zombies_of[parent_pid] = zombies_of.get(parent_pid, 0) + counted.zombies
        for counted, attribution in zip(counts, self._attributions(counts), strict=True):
            if not self._chosen.filters.matches(attribution):
                continue
            siblings = zombies_of[counted.child.parent_pid] - 1
            record, _ = self._records.build(counted.child, attribution, siblings, self._now)
            yield Group(record, zombies=counted.zombies)

    def _attributions(self, counts: list[_Counted]) -> list[Attribution]:
        """Attribute what was counted, by the API server's names if a zombie is in a container.

        Only then is the API server asked and waited for, however late in the list that is.
        """
        found = [self._records.attribute(counted.child) for counted in counts]
        pods = self._identification.pods
        if pods is None or not any(each.container for each in found):
            return found
        wait_for_pod_names(pods)
        again = self._identification.attributor.attribute_cgroup
        return [again(each.cgroup) if each.container else each for each in found]


def _parent_pid(group: Group) -> int:
    return group.record.zombie.child.parent_pid


def _owner(group: Group) -> Hashable:
    return owner_key(group.record.attribution)
