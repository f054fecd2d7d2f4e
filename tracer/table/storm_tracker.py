"""The zombies that are counted and not listed, parent by parent. Pure."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from tracer.model import Identity, Storm, StormPhase, Zombie
from tracer.table.pidset import PidSet
from tracer.table.storm import Bucket, StormCounter, StormRules

_SPARE_BUCKETS = 1024


class StormTracker:
    """Decides who is told one by one, and counts who is not.

    Args:
        rules: the bounds.
        listed: how many zombies of a parent are listed now.
    """

    def __init__(self, rules: StormRules, listed: Callable[[int], int]) -> None:
        self.rules = rules
        self._listed = listed
        self._members = PidSet()
        self.number = self._members.group
        """Returns the number of the flood that a zombie (pid, start_ticks) is counted in, or
        None. Asked for each zombie of each snapshot: no call of its own stands between."""
        self._storms: list[StormCounter] = []
        self._numbers: dict[int, int] = {}
        self._buckets: dict[int, Bucket] = {}
        self._begun: list[StormCounter] = []

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, identity: Identity) -> bool:
        return self._members.group(*identity) is not None

    def storming(self, parent_pid: int) -> bool:
        """Return whether that parent's zombies are only counted now."""
        number = self._numbers.get(parent_pid)
        return number is not None and self._storms[number].active

    def admits(self, parent_pid: int, now_boot_ns: int) -> bool:
        """Take one of the lines that a parent may fill; False when none is left."""
        # The one that asks is listed already.
        if self.storming(parent_pid) or self._listed(parent_pid) > self.rules.listed:
            return False
        bucket = self._buckets.get(parent_pid)
        if bucket is None:
            bucket = self._buckets[parent_pid] = Bucket(self.rules.burst, now_boot_ns)
        return bucket.take(now_boot_ns, self.rules)

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
            identity: who.
            parent_pid: whose.
            dead_since_boot_ns: 0 when nothing is known of its death.
            now_boot_ns: the time.
            zombie: for a sample, where it is unpacked already.
        """
        number = self._numbers.get(parent_pid)
        if number is None or self._storms[number].over:
            number = self._place(StormCounter(parent_pid, now_boot_ns, active=False))
        counter = self._storms[number]
        counter.absorb(dead_since_boot_ns)
        self._members.add(*identity, number)
        if zombie is not None and len(counter.samples) < self.rules.samples:
            counter.samples.append(zombie)
        if not counter.active:
            # One that only paused goes on counting from its first begin.
            counter.active = True
            self._begun.append(counter)

    def begun(self, now_boot_ns: int) -> list[Storm]:
        """Return the storms that began since the last call, with all that came at once."""
        begun, self._begun = self._begun, []
        return [counter.report(StormPhase.BEGAN, now_boot_ns) for counter in begun]

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
        """Return the numbers of the floods that could show more samples."""
        return {
            number
            for number, counter in enumerate(self._storms)
            if len(counter.samples) < min(self.rules.samples, counter.zombies)
        }

    def add_sample(self, number: int, zombie: Zombie) -> bool:
        """Add a counted zombie to its flood's samples; return whether more are wanted."""
        samples = self._storms[number].samples
        if all(zombie.child.identity != each.child.identity for each in samples):
            samples.append(zombie)
        return len(samples) < self.rules.samples

    def correct_oldest(self, oldest_boot_ns: dict[int, int]) -> None:
        """Take what a snapshot says of the oldest zombie of each counter, by number."""
        for number, since in oldest_boot_ns.items():
            self._storms[number].oldest_boot_ns = since

    def tick(self, now_boot_ns: int) -> list[Storm]:
        """Return the storms that must be told of now."""
        storms = []
        for counter in self._storms:
            phase = counter.due(now_boot_ns, self.rules, crowded=self._crowded(counter.parent_pid))
            if phase is not None:
                counter.active = phase is StormPhase.ONGOING
                storms.append(counter.report(phase, now_boot_ns))
        return storms

    def dues(self) -> list[int]:
        """Return when tick() may have something to tell."""
        told = (
            counter.due_since_boot_ns(crowded=self._crowded(counter.parent_pid))
            for counter in self._storms
        )
        return [since + self.rules.interval_ns for since in told if since is not None]

    def tidy(self, now_boot_ns: int, parents: int) -> None:
        """Forget the full buckets, when there are many more than parents with zombies."""
        if len(self._buckets) <= 2 * parents + _SPARE_BUCKETS:
            return
        for parent_pid, bucket in list(self._buckets.items()):
            bucket.refill(now_boot_ns, self.rules)
            if bucket.tokens >= self.rules.burst:
                del self._buckets[parent_pid]

    def restore(self, counter: StormCounter, members: Iterable[tuple[int, int]]) -> int:
        """Put back a flood with its (pid, start_ticks) members; return their number."""
        number = self._place(counter)
        for pid, start_ticks in members:
            if self._members.group(pid, start_ticks) is None:
                self._members.add(pid, start_ticks, number)
                counter.zombies += 1
        return counter.zombies

    def zombies_of(self, parent_pid: int) -> int:
        """Return how many zombies of that parent are counted here."""
        number = self._numbers.get(parent_pid)
        return 0 if number is None else self._storms[number].zombies

    def storms(self, now_boot_ns: int) -> list[Storm]:
        """Return the numbers of every flood that has zombies, without making it a report."""
        return [
            replace(counter).report(
                StormPhase.ONGOING if counter.active else StormPhase.ENDED, now_boot_ns
            )
            for counter in self._storms
            if counter.zombies
        ]

    def members(self) -> Iterator[tuple[int, Identity]]:
        """Yield the counted zombies, each after the pid of its parent."""
        for identity, number in self._members:
            yield self._storms[number].parent_pid, identity

    def counters(self) -> Iterator[tuple[int, StormCounter]]:
        """Yield the storms that have zombies, each after its number."""
        return ((number, each) for number, each in enumerate(self._storms) if each.zombies)

    def blocks(self) -> Iterator[bytes]:
        """Yield the counted zombies and the numbers of their storms, as PidSet.blocks() does."""
        return self._members.blocks()

    def _crowded(self, parent_pid: int) -> bool:
        return self._listed(parent_pid) >= self.rules.listed

    def _place(self, counter: StormCounter) -> int:
        for number, old in enumerate(self._storms):
            if old.over:  # its place can be taken
                if self._numbers.get(old.parent_pid) == number:
                    del self._numbers[old.parent_pid]
                self._storms[number] = counter
                break
        else:
            number = len(self._storms)
            self._storms.append(counter)
        self._numbers[counter.parent_pid] = number
        return number
