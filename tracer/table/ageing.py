"""What becomes of a zombie: it waits for its age, is listed, or is only counted. Pure."""

from collections.abc import Iterable
from dataclasses import replace

from tracer.model import Child, Detected, Identity, Reaped, Storm, StormChanged, Transition, Zombie
from tracer.table.listed import ListedZombie, ListedZombies
from tracer.table.parents import ParentIdentity, Parents
from tracer.table.storm import StormRules
from tracer.table.storm_tracker import StormTracker

_READY = 512
"""New zombies of one moment that are listed before the first is reported, for its siblings."""


class Ageing:
    """The zombies of the table, and the steps that apply(), reconcile() and tick() share.

    Args:
        min_age_ns: when a zombie is detected.
        rules: when zombies are only counted.
        parent_identity: reads which process has a pid.
    """

    def __init__(self, min_age_ns: int, rules: StormRules, parent_identity: ParentIdentity) -> None:
        self._min_age_ns = min_age_ns
        self.parents = Parents(parent_identity)
        self.listed = ListedZombies(min_age_ns)
        self.storms = StormTracker(rules, self.listed.of_parent, self.parents)
        self.detected = self.reaped = 0
        self._ready: list[ListedZombie] = []

    def add(self, child: Child, now_boot_ns: int) -> None:
        """Take a dead child that a source reports; one that is known may have a new parent."""
        identity, parent_pid = child.identity, child.parent_pid
        listed = self.listed.get(identity)
        if listed is not None:
            if listed.zombie.child.parent_pid != parent_pid:
                self.listed.move(listed, parent_pid)
        elif identity not in self.storms:
            dead_since = child.dead_since_boot_ns or 0
            zombie = Zombie(child, now_boot_ns)
            number = self.active_storm(identity, parent_pid, dead_since, now_boot_ns)
            if number is not None:
                self.detected += 1
                zombie = self._counted(zombie, now_boot_ns)
                self.storms.count_in(number, identity, dead_since, zombie)
                return
            listed = self.listed.add(zombie, None)
            if listed.due_boot_ns <= now_boot_ns:
                self._ready.append(listed)

    @property
    def many_ready(self) -> bool:
        """Whether detect_ready() should be called before more are added."""
        return len(self._ready) >= _READY

    def detect_ready(self, now_boot_ns: int, out: list[Transition]) -> list[int]:
        """Detect the added zombies that are old enough.

        Returns:
            the pids of those that are only counted.
        """
        ready, self._ready = self._ready, []
        for listed in ready:
            self.detect(listed, now_boot_ns, out)
        identities = (listed.zombie.child.identity for listed in ready)
        return [identity.pid for identity in identities if identity not in self.listed]

    def drop_ready(self) -> None:
        """Leave them to the next tick(): they are due."""
        self._ready.clear()

    def detect(self, listed: ListedZombie, now_boot_ns: int, out: list[Transition]) -> None:
        """Report a listed zombie that is old enough, or count it."""
        zombie = listed.zombie
        child = zombie.child
        if self.storms.admits(child.identity, child.parent_pid, now_boot_ns):
            siblings = self.siblings(child.parent_pid) - 1
            listed.zombie = replace(zombie, detected_boot_ns=now_boot_ns, siblings=siblings)
            self.detected += 1
            out.append(Detected(listed.zombie))
            self.listed.schedule(listed)
        else:
            self.listed.remove(child.identity)
            since = child.dead_since_boot_ns or zombie.first_seen_boot_ns
            self.detected += 1
            zombie = self._counted(zombie, now_boot_ns)
            self.storms.count(child.identity, child.parent_pid, since, now_boot_ns, zombie)

    def active_storm(
        self, identity: Identity, parent_pid: int, dead_since_boot_ns: int, now_boot_ns: int
    ) -> int | None:
        """Return the number of the storm that a new zombie is counted in at once.

        None when it is listed first: it is too young, or its parent has no storm.
        """
        since = dead_since_boot_ns or now_boot_ns
        if since + self._min_age_ns > now_boot_ns:
            return None
        return self.storms.active(parent_pid, identity.start_ticks)

    def _counted(self, zombie: Zombie, now_boot_ns: int) -> Zombie:
        """Return it as a storm's sample."""
        siblings = max(0, self.siblings(zombie.child.parent_pid))
        return replace(zombie, detected_boot_ns=now_boot_ns, siblings=siblings)

    def remove(self, identity: Identity, gone_boot_ns: int, out: list[Transition]) -> None:
        """Take out a zombie that was reaped; one that was detected is reported."""
        if self.storms.discard(identity):
            self.reaped += 1
            return
        listed = self.listed.remove(identity)
        if listed is not None and listed.zombie.detected_boot_ns is not None:
            self.reaped += 1
            lifetime_ns = max(0, listed.zombie.age_ns(gone_boot_ns))
            out.append(Reaped(listed.zombie, gone_boot_ns, lifetime_ns))

    def siblings(self, parent_pid: int) -> int:
        """Return how many zombies that parent has, counted ones included."""
        return self.listed.of_parent(parent_pid) + self.storms.zombies_of(parent_pid)

    def report_storms(self, storms: Iterable[Storm], out: list[Transition]) -> None:
        """Report storms with all zombies of the parent, listed ones included."""
        for storm in storms:
            pid = storm.parent.pid
            # Where another process has the pid by now, the listed zombies are that one's.
            same = self.parents.now(pid) == storm.parent
            listed = self.listed.of_parent(pid) if same else 0
            out.append(StormChanged(replace(storm, zombies=storm.zombies + listed)))
