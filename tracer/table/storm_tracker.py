"""The zombies that are counted and not listed, by the process that has them. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from tracer.model import Identity, Storm, StormPhase, Zombie
from tracer.table.parents import Parents
from tracer.table.pidset import PidSet
from tracer.table.storm import Buckets, StormCounter, StormRules


class StormTracker:
    """Decides which zombies are listed, and counts the others.

    Args:
        rules: the bounds.
        listed: returns how many zombies of a parent (pid) are listed now.
        parents: which process a parent's pid stands for.
    """

    def __init__(self, rules: StormRules, listed: Callable[[int], int], parents: Parents) -> None:
        self.rules = rules
        self._listed = listed
        self._parents = parents
        self._members = PidSet()
        self.number = self._members.group
        """Returns the number of the storm that a zombie (pid, start_ticks) is counted in, or
        None. Called for each zombie of each snapshot, so without a function in between."""
        self.parent_pids: list[int] = []
        """The parent's pid of each storm, by its number."""
        self._storms: list[StormCounter] = []
        self._numbers: dict[Identity, int] = {}
        self._buckets = Buckets(rules)
        self._begun: list[StormCounter] = []
        self._emptied: list[StormCounter] = []
        self.wants_snapshot = False
        """A storm's parent has died: only a snapshot shows which process has its zombies now."""

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, identity: Identity) -> bool:
        return self._members.group(*identity) is not None

    def active(self, parent_pid: int, child_start_ticks: int) -> int | None:
        """Return the number of the storm of the parent of a child that started then.

        None when that parent has no storm now: then its zombies are listed.
        """
        if not self._parents.known(parent_pid):
            return None
        number = self._numbers.get(self._parents.of(parent_pid, child_start_ticks))
        return number if number is not None and self._storms[number].active else None

    def admits(self, child: Identity, parent_pid: int, now_boot_ns: int) -> bool:
        """Take one of the lines that a child's parent may fill; False when none is left."""
        # The child that asks is listed already.
        if self._listed(parent_pid) > self.rules.listed:
            return False
        parent = self._parents.of(parent_pid, child.start_ticks)
        number = self._numbers.get(parent)
        if number is not None and self._storms[number].active:
            return False
        return self._buckets.take(parent, now_boot_ns)

    def count(
        self,
        identity: Identity,
        parent_pid: int,
        dead_since_boot_ns: int,
        now_boot_ns: int,
        zombie: Zombie | None,
    ) -> None:
        """Count a zombie of that parent, whose storm begins if there is none.

        Args:
            identity: the zombie's.
            parent_pid: its parent.
            dead_since_boot_ns: 0 when nothing is known of its death.
            now_boot_ns: the time.
            zombie: for a sample, where it is unpacked already.
        """
        number = self._number_of(self._parents.of(parent_pid, identity.start_ticks), now_boot_ns)
        self.count_in(number, identity, dead_since_boot_ns, zombie)
        counter = self._storms[number]
        if not counter.active:
            # A storm that only paused keeps the time at which it began.
            counter.active = True
            self._begun.append(counter)

    def count_in(
        self, number: int, identity: Identity, dead_since_boot_ns: int, zombie: Zombie | None
    ) -> None:
        """Count a zombie in the storm of that number, as count() does."""
        counter = self._storms[number]
        counter.absorb(dead_since_boot_ns)
        self._members.add(*identity, number)
        if zombie is not None and len(counter.samples) < self.rules.samples:
            counter.samples.append(zombie)

    def adopt(
        self, identity: Identity, parent_pid: int, dead_since_boot_ns: int, now_boot_ns: int
    ) -> int:
        """Move a counted zombie, whose parent died, to the process that adopted it.

        Returns:
            the number of the storm that it is counted in now.
        """
        counter = self._storms[self._members.group(*identity) or 0]
        number = self._number_of(self._parents.of(parent_pid, identity.start_ticks), now_boot_ns)
        adopter = self._storms[number]
        if not adopter.active and all(each is not adopter for each in self._begun):
            self._begun.append(adopter)
        counter.hand_over(adopter, dead_since_boot_ns)
        counter.samples = [each for each in counter.samples if each.child.identity != identity]
        self._members.add(*identity, number)
        if not counter.zombies:
            self._emptied.append(counter)
        return number

    def changed(self, now_boot_ns: int) -> list[Storm]:
        """Return the storms that began since the last call, and those that adoption emptied."""
        begun, self._begun = self._begun, []
        emptied, self._emptied = self._emptied, []
        storms = []
        for counter in emptied:
            counter.active = False
            storms.append(counter.report(StormPhase.DRAINED, now_boot_ns))
        for counter in begun:
            if not counter.active:
                # Adopted zombies only. Many of them would be listed with the next ones that
                # this process leaves; a few are no reason to stop listing those.
                counter.active = counter.zombies > self.rules.burst
            phase = StormPhase.BEGAN if counter.active else StormPhase.ENDED
            storms.append(counter.report(phase, now_boot_ns))
        return storms

    def discard(self, identity: Identity) -> bool:
        """Take a reaped zombie out; return whether it was counted here."""
        number = self._members.discard(*identity)
        if number is None:
            return False
        counter = self._storms[number]
        counter.lose()
        counter.samples = [each for each in counter.samples if each.child.identity != identity]
        return True

    def missing_from(self, pids: Iterable[int]) -> list[Identity]:
        """Return those counted here whose pid is not in `pids`."""
        return [identity for identity, _ in self._members.missing_from(pids)]

    def wanting_samples(self) -> set[int]:
        """Return the numbers of the storms that could show more samples."""
        return {number for number in range(len(self._storms)) if self.wants_sample(number)}

    def wants_sample(self, number: int) -> bool:
        """Return whether that storm could show more samples."""
        counter = self._storms[number]
        return len(counter.samples) < min(self.rules.samples, counter.zombies)

    def add_sample(self, number: int, zombie: Zombie) -> bool:
        """Add a counted zombie to its storm's samples; return whether more are wanted."""
        samples = self._storms[number].samples
        if all(zombie.child.identity != each.child.identity for each in samples):
            samples.append(zombie)
        return len(samples) < self.rules.samples

    def compared(self, oldest_boot_ns: dict[int, int], now_boot_ns: int) -> None:
        """Note that a snapshot was compared.

        Args:
            oldest_boot_ns: when the oldest zombie of each storm died, by the storm's number.
            now_boot_ns: the time.
        """
        for number, since in oldest_boot_ns.items():
            self._storms[number].oldest_boot_ns = since
        for counter in self._storms:
            counter.compared_boot_ns, counter.held = now_boot_ns, False
        self.wants_snapshot = False

    def tick(self, now_boot_ns: int) -> list[Storm]:
        """Return the storms that must be reported now."""
        storms = []
        for counter in self._storms:
            crowded = self._crowded(counter)
            phase = counter.due(now_boot_ns, self.rules, crowded=crowded)
            if phase is None:
                continue
            if self._unsure_of_parent(counter):
                counter.held = self.wants_snapshot = True
                continue
            counter.active = phase is StormPhase.ONGOING
            storms.append(counter.report(phase, now_boot_ns))
        return storms

    def finish(self, now_boot_ns: int) -> list[Storm]:
        """Return the last report of each storm that goes on or has changed since its last one."""
        return [
            counter.report(_phase(counter), now_boot_ns)
            for counter in self._storms
            if counter.active or counter.changed
        ]

    def dues(self) -> list[int]:
        """Return when tick() may have something to report."""
        begun = (
            counter.due_since_boot_ns(crowded=self._crowded(counter)) for counter in self._storms
        )
        return [since + self.rules.interval_ns for since in begun if since is not None]

    def tidy(self, now_boot_ns: int, parents: int) -> None:
        """Forget the full buckets, when there are many more than parents with zombies."""
        self._buckets.tidy(now_boot_ns, parents)

    def restore(self, counter: StormCounter, members: Iterable[tuple[int, int]]) -> int:
        """Put back a storm with its (pid, start_ticks) members; return their number."""
        number = self._place(counter)
        for pid, start_ticks in members:
            if self._members.group(pid, start_ticks) is None:
                self._members.add(pid, start_ticks, number)
                counter.zombies += 1
        return counter.zombies

    def zombies_of(self, parent_pid: int) -> int:
        """Return how many zombies of the process that has this pid now are counted here."""
        if not self._parents.known(parent_pid):
            return 0
        number = self._numbers.get(self._parents.now(parent_pid))
        return 0 if number is None else self._storms[number].zombies

    def storms(self, now_boot_ns: int) -> list[Storm]:
        """Return the numbers of every storm that has zombies, without making it a report."""
        return [
            replace(counter).report(
                StormPhase.ONGOING if counter.active else StormPhase.ENDED, now_boot_ns
            )
            for counter in self._storms
            if counter.zombies
        ]

    def members(self) -> Iterator[tuple[Identity, Identity]]:
        """Yield the counted zombies, each after the parent whose storm it is counted in."""
        for identity, number in self._members:
            yield self._storms[number].parent, identity

    def counters(self) -> Iterator[tuple[int, StormCounter]]:
        """Yield the storms that have zombies, each after its number."""
        return ((number, each) for number, each in enumerate(self._storms) if each.zombies)

    def blocks(self) -> Iterator[bytes]:
        """Yield the counted zombies and the numbers of their storms, as PidSet.blocks() does."""
        return self._members.blocks()

    def _crowded(self, counter: StormCounter) -> bool:
        return self._listed(counter.parent.pid) >= self.rules.listed

    def _unsure_of_parent(self, counter: StormCounter) -> bool:
        """Return whether its parent has died since the last snapshot."""
        due = counter.reported_boot_ns + self.rules.interval_ns
        return (
            counter.zombies > 0
            and counter.compared_boot_ns < due
            and self._parents.gone(counter.parent)
        )

    def _number_of(self, parent: Identity, now_boot_ns: int) -> int:
        number = self._numbers.get(parent)
        if number is None or self._storms[number].over:
            number = self._place(
                StormCounter(parent, now_boot_ns, active=False, reported_boot_ns=now_boot_ns)
            )
        return number

    def _place(self, counter: StormCounter) -> int:
        for number, old in enumerate(self._storms):
            if old.over:  # its place can be taken
                if self._numbers.get(old.parent) == number:
                    del self._numbers[old.parent]
                    self._parents.forget(old.parent)
                self._storms[number] = counter
                self.parent_pids[number] = counter.parent.pid
                break
        else:
            number = len(self._storms)
            self._storms.append(counter)
            self.parent_pids.append(counter.parent.pid)
        self._numbers[counter.parent] = number
        self._parents.remember(counter.parent)
        return number


def _phase(counter: StormCounter) -> StormPhase:
    """Return how a storm stands when it is reported for the last time."""
    if counter.active:
        return StormPhase.ONGOING
    return StormPhase.ENDED if counter.zombies else StormPhase.DRAINED
