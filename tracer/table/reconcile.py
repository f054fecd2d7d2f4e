"""Makes the table equal to a snapshot: what it lacks is gone, what it has is here. Pure."""

from array import array

from tracer.model import Identity, Snapshot, Transition, Zombie
from tracer.table.ageing import Ageing

_NEVER = 1 << 63


def reconcile(ageing: Ageing, snapshot: Snapshot, now_boot_ns: int, out: list[Transition]) -> None:
    """Compare with a snapshot that is newer than all that was observed.

    Args:
        ageing: brought up to date.
        snapshot: read once.
        now_boot_ns: the time.
        out: takes the transitions; where reading fails, those until then.
    """
    comparison = _Comparison(ageing, snapshot, now_boot_ns, out)
    comparison.read()
    comparison.remove_missing()


class _Comparison:
    """One pass over a snapshot. Most zombies of a large one are counted already."""

    def __init__(
        self, ageing: Ageing, snapshot: Snapshot, now_boot_ns: int, out: list[Transition]
    ) -> None:
        self._ageing = ageing
        self._storms = ageing.storms
        self._snapshot = snapshot
        self._now_boot_ns = now_boot_ns
        self._out = out
        self._listed: set[Identity] = set()
        self._counted = array("I")
        self._wanting = ageing.storms.wanting_samples()

    def read(self) -> None:
        """Take each zombie of the snapshot. For those that are counted, nothing is built."""
        number_of, parent_pids = self._storms.number, self._storms.parent_pids
        counted, wanting, get_listed = self._counted, self._wanting, self._ageing.listed.get
        oldest: dict[int, int] = {}
        for index, (pid, start_ticks, parent_pid, dead_since) in enumerate(self._snapshot.keys()):
            number = number_of(pid, start_ticks)
            if number is not None:
                counted.append(pid)
                if parent_pids[number] != parent_pid:
                    number = self._adopt(Identity(pid, start_ticks), parent_pid, dead_since)
                if dead_since and dead_since < oldest.get(number, _NEVER):
                    oldest[number] = dead_since
                if number in wanting:
                    self._sample(number, index, parent_pid)
                continue
            identity = Identity(pid, start_ticks)
            listed = get_listed(identity)
            if listed is None:
                self._add(identity, index, parent_pid, dead_since)
            else:
                self._listed.add(identity)
                if listed.zombie.child.parent_pid != parent_pid:
                    self._ageing.listed.move(listed, parent_pid)
        counted.extend(self._ageing.detect_ready(self._now_boot_ns, self._out))
        self._storms.compared(oldest, self._now_boot_ns)

    def _adopt(self, identity: Identity, parent_pid: int, dead_since_boot_ns: int) -> int:
        number = self._storms.adopt(identity, parent_pid, dead_since_boot_ns, self._now_boot_ns)
        if self._storms.wants_sample(number):
            self._wanting.add(number)
        return number

    def _sample(self, number: int, index: int, parent_pid: int) -> None:
        """Fill up samples that were reaped, or that a restart lost."""
        siblings = max(0, self._ageing.siblings(parent_pid) - 1)
        child = self._snapshot.child(index)
        sample = Zombie(child, self._now_boot_ns, self._now_boot_ns, siblings)
        if not self._storms.add_sample(number, sample):
            self._wanting.discard(number)

    def _add(
        self, identity: Identity, index: int, parent_pid: int, dead_since_boot_ns: int
    ) -> None:
        ageing, now = self._ageing, self._now_boot_ns
        number = ageing.active_storm(identity, parent_pid, dead_since_boot_ns, now)
        if number is not None:
            # By its key alone: a parent may have a million of them.
            ageing.detected += 1
            self._storms.count_in(number, identity, dead_since_boot_ns, None)
            self._counted.append(identity.pid)
            return
        ageing.add(self._snapshot.child(index), now)
        self._listed.add(identity)
        if ageing.many_ready:
            self._counted.extend(ageing.detect_ready(now, self._out))

    def remove_missing(self) -> None:
        """Take out what the snapshot lacks."""
        taken = self._snapshot.taken_boot_ns
        for identity in self._ageing.listed.missing_from(self._listed):
            self._ageing.remove(identity, taken, self._out)
        if len(self._counted) != len(self._storms):
            for identity in self._storms.missing_from(self._counted):
                self._ageing.remove(identity, taken, self._out)
