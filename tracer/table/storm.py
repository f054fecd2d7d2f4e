"""When one parent's zombies stop being told one by one. Pure."""

from dataclasses import dataclass, field
from typing import NamedTuple

from tracer.clock import NS
from tracer.model import Storm, StormPhase, Zombie


class StormRules(NamedTuple):
    """Bounds of the log: a bucket of lines for each parent, refilled slowly.

    Attributes:
        burst: zombies of one parent told one by one before a storm begins.
        refill_per_second: what a parent may go on telling one by one.
        interval_ns: a storm is told anew after so long, if anything changed.
        calm_per_second: a storm that brought fewer than these in an interval is over.
        samples: zombies shown in a storm's lines.
        listed: zombies of one parent that may be listed at a time. Those of a leak too
            slow to empty the bucket would fill the memory in days.
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


@dataclass(slots=True)
class StormCounter:
    """The zombies of one parent that are counted and not listed.

    It outlives its storm: what came in it stays counted until it is reaped.
    """

    parent_pid: int
    began_boot_ns: int
    active: bool = True
    zombies: int = 0
    detected: int = 0
    reaped: int = 0
    oldest_boot_ns: int | None = None
    samples: list[Zombie] = field(default_factory=list)
    reported_boot_ns: int = 0
    reported_detected: int = 0
    reported_reaped: int = 0

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
        self.zombies -= 1
        self.reaped += 1
        if not self.zombies:
            self.oldest_boot_ns = None

    def report(self, phase: StormPhase, now_boot_ns: int) -> Storm:
        """Return the numbers since the last report, which this one becomes."""
        elapsed = max(now_boot_ns - self.reported_boot_ns, 1) / NS
        # A storm's first report comes at once: there is no interval to divide by yet.
        since = max(elapsed, 1.0)
        storm = Storm(
            parent_pid=self.parent_pid,
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
        )
        self.reported_boot_ns, self.reported_detected = now_boot_ns, self.detected
        self.reported_reaped = self.reaped
        return storm

    @property
    def over(self) -> bool:
        """Whether it holds nothing any more and everything of it was told."""
        return not self.active and not self.zombies and self.reaped == self.reported_reaped

    def due_since_boot_ns(self, *, crowded: bool) -> int | None:
        """Return from when on the interval runs; None while only an event can change due()."""
        if self.active:
            return None if crowded and not self._changed else self.reported_boot_ns
        drained = not self.zombies and self.reaped != self.reported_reaped
        return self.reported_boot_ns if drained else None

    def due(self, now_boot_ns: int, rules: StormRules, *, crowded: bool) -> StormPhase | None:
        """Return what must be told now, if anything.

        Args:
            now_boot_ns: the time.
            rules: the bounds.
            crowded: no more zombies of this parent may be listed: then its storm does not
                end, and is told of only where something changed.
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
    def _changed(self) -> bool:
        return self.detected != self.reported_detected or self.reaped != self.reported_reaped
