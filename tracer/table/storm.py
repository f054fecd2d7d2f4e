"""When a parent's zombies are counted instead of listed. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from tracer.clock import NS
from tracer.model import Identity, Storm, StormPhase, Zombie

_SPARE_BUCKETS = 1024


class StormRules(NamedTuple):
    """Bounds of the log: a bucket of lines for each parent, refilled slowly.

    Attributes:
        burst: zombies of one parent that are listed before a storm begins.
        refill_per_second: zombies of one parent that may be listed from then on.
        interval_ns: the shortest time between two reports of a storm.
        calm_per_second: a storm ends when fewer zombies than this arrive in an interval.
        samples: zombies shown in a storm's lines.
        listed: zombies of one parent that may be listed at a time. A leak too slow to
            empty the bucket would otherwise fill the memory in days.
    """

    burst: int = 200
    refill_per_second: float = 5.0
    interval_ns: int = 30 * NS
    calm_per_second: float = 1.0
    samples: int = 5
    listed: int = 1000


@dataclass(slots=True)
class Bucket:
    """The lines that one parent may still fill."""

    tokens: float
    filled_boot_ns: int

    def take(self, now_boot_ns: int, rules: StormRules) -> bool:
        """Take one line, if there is one."""
        self.refill(now_boot_ns, rules)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def refill(self, now_boot_ns: int, rules: StormRules) -> None:
        """Bring the bucket up to date."""
        elapsed = max(0, now_boot_ns - self.filled_boot_ns) / NS
        self.tokens = min(rules.burst, self.tokens + elapsed * rules.refill_per_second)
        self.filled_boot_ns = max(self.filled_boot_ns, now_boot_ns)


class Buckets:
    """The buckets of all parents."""

    def __init__(self, rules: StormRules) -> None:
        self._rules = rules
        self._buckets: dict[Identity, Bucket] = {}

    def take(self, parent: Identity, now_boot_ns: int) -> bool:
        """Take one of the lines that a parent may fill; False when none is left."""
        bucket = self._buckets.get(parent)
        if bucket is None:
            bucket = self._buckets[parent] = Bucket(self._rules.burst, now_boot_ns)
        return bucket.take(now_boot_ns, self._rules)

    def tidy(self, now_boot_ns: int, parents: int) -> None:
        """Forget the full buckets, when there are many more than parents with zombies."""
        if len(self._buckets) <= 2 * parents + _SPARE_BUCKETS:
            return
        for parent, bucket in list(self._buckets.items()):
            bucket.refill(now_boot_ns, self._rules)
            if bucket.tokens >= self._rules.burst:
                del self._buckets[parent]


@dataclass(slots=True)
class StormCounter:
    """The zombies of one parent that are counted and not listed.

    It outlives its storm: a zombie that was counted stays counted until it is reaped, or
    until another process adopts it.
    """

    parent: Identity
    began_boot_ns: int
    active: bool = True
    zombies: int = 0
    detected: int = 0
    reaped: int = 0
    adopted: int = 0
    oldest_boot_ns: int | None = None
    samples: list[Zombie] = field(default_factory=list)
    reported_boot_ns: int = 0
    reported_detected: int = 0
    reported_reaped: int = 0
    reported_adopted: int = 0
    compared_boot_ns: int = 0
    """Time of the last snapshot: its zombies were this parent's then."""
    held: bool = False
    """A report is due, but the parent is gone: a snapshot must first find its zombies' new one."""

    def absorb(self, dead_since_boot_ns: int) -> None:
        """Count one more zombie; 0 for a death of which nothing is known."""
        self.zombies += 1
        self.detected += 1
        if dead_since_boot_ns:
            oldest = self.oldest_boot_ns
            self.oldest_boot_ns = (
                dead_since_boot_ns if oldest is None else min(oldest, dead_since_boot_ns)
            )

    def lose(self) -> None:
        """Count one of its zombies as reaped."""
        self.reaped += 1
        self._leave()

    def hand_over(self, adopter: "StormCounter", dead_since_boot_ns: int) -> None:
        """Move one zombie to the process that adopted it: it was reported here already."""
        self.adopted += 1
        self._leave()
        adopter.absorb(dead_since_boot_ns)
        adopter.reported_detected += 1

    def _leave(self) -> None:
        self.zombies -= 1
        if not self.zombies:
            self.oldest_boot_ns = None

    def report(self, phase: StormPhase, now_boot_ns: int) -> Storm:
        """Return the numbers, and remember them as the last ones reported."""
        elapsed = max(now_boot_ns - self.reported_boot_ns, 1) / NS
        # A storm's first report comes at once: there is no interval to divide by yet.
        since = max(elapsed, 1.0)
        storm = Storm(
            parent=self.parent,
            phase=phase,
            zombies=self.zombies,
            detected=self.detected,
            reaped=self.reaped,
            rate_per_second=round((self.detected - self.reported_detected) / since, 3),
            oldest_age_ns=(
                None
                if self.oldest_boot_ns is None or not self.zombies
                else now_boot_ns - self.oldest_boot_ns
            ),
            samples=tuple(self.samples),
            began_boot_ns=self.began_boot_ns,
            new_detected=self.detected - self.reported_detected,
            new_reaped=self.reaped - self.reported_reaped,
            adopted=self.adopted,
        )
        self.reported_boot_ns, self.reported_detected = now_boot_ns, self.detected
        self.reported_reaped, self.reported_adopted = self.reaped, self.adopted
        return storm

    @property
    def over(self) -> bool:
        """Whether it has no zombies and nothing left to report."""
        return not self.active and not self.zombies and not self._shrank

    def due_since_boot_ns(self, *, crowded: bool) -> int | None:
        """Return when the interval began; None while only an event can change due()."""
        if self.held:
            return None
        if self.active:
            return None if crowded and not self.changed else self.reported_boot_ns
        drained = not self.zombies and self._shrank
        return self.reported_boot_ns if drained else None

    def due(self, now_boot_ns: int, rules: StormRules, *, crowded: bool) -> StormPhase | None:
        """Return what must be reported now, if anything.

        Args:
            now_boot_ns: the time.
            rules: the bounds.
            crowded: no more zombies of this parent may be listed: then its storm does not
                end, and is reported only when something changed.
        """
        since = self.due_since_boot_ns(crowded=crowded)
        if since is None or now_boot_ns < since + rules.interval_ns:
            return None
        if self.active and not crowded:
            elapsed = (now_boot_ns - self.reported_boot_ns) / NS
            calm = self.detected - self.reported_detected < rules.calm_per_second * elapsed
            if calm:
                return StormPhase.ENDED if self.zombies else StormPhase.DRAINED
        return StormPhase.ONGOING if self.active else StormPhase.DRAINED

    @property
    def changed(self) -> bool:
        """Whether zombies came or went since its last report."""
        return self.detected != self.reported_detected or self._shrank

    @property
    def _shrank(self) -> bool:
        return self.reaped != self.reported_reaped or self.adopted != self.reported_adopted
