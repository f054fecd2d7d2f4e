"""How many lines of the log an owner may fill: a burst, then so many a second."""

from collections.abc import Callable
from typing import NamedTuple

from tracer.clock import NS, boot_ns
from tracer.sinks.owner import LineOwner

PODS = 4096
"""Pods with a budget of their own; the kubelet runs 110 on a node by default."""
OTHERS = 1024
"""Owners outside pods with a budget of their own. A user can make any number of cgroups and
processes there, so the rest of them share one budget."""

_SHARED = LineOwner("shared", "")
_OVERDRAFT = 10
"""A zombie_storm line may overdraw the budget by this share of the burst: it stands for many."""
_SWEEP_NS = NS


class LogBudget(NamedTuple):
    """The budget of one owner.

    Attributes:
        burst: lines at once.
        per_second: lines a second after that.
    """

    burst: int
    per_second: int


class _Bucket:
    """The lines that an owner has left; at most the burst."""

    __slots__ = ("filled_boot_ns", "lines")

    def __init__(self, lines: float, now_boot_ns: int) -> None:
        self.lines = lines
        self.filled_boot_ns = now_boot_ns


class LineBudgets:
    """The budgets of all owners, in bounded memory. Not thread-safe.

    A full bucket says no more than a new one, so it is dropped when there is no room; only
    where all are in use does an owner without one share the last with others.

    Args:
        budget: of each owner.
        clock: boot time in nanoseconds.
    """

    def __init__(self, budget: LogBudget, clock: Callable[[], int] = boot_ns) -> None:
        self._budget = budget
        self._clock = clock
        self._pods: dict[LineOwner, _Bucket] = {}
        self._others: dict[LineOwner, _Bucket] = {}
        self._swept_boot_ns = clock()

    def __len__(self) -> int:
        return len(self._pods) + len(self._others)

    def take(self, owner: LineOwner, *, overdraw: bool = False) -> bool:
        """Use one line of the owner's budget; return whether there was one.

        Args:
            owner: whose.
            overdraw: it is a line that stands for many zombies.
        """
        bucket = self._bucket(owner)
        least = 1.0 - (self._budget.burst / _OVERDRAFT if overdraw else 0)
        if bucket.lines < least:
            return False
        bucket.lines -= 1
        return True

    def _bucket(self, owner: LineOwner) -> _Bucket:
        buckets, limit = (self._pods, PODS) if owner.in_pod else (self._others, OTHERS)
        now = self._clock()
        if owner not in buckets and len(buckets) >= limit:
            self._sweep(buckets, now)
            if len(buckets) >= limit:
                owner = _SHARED
        bucket = buckets.get(owner)
        if bucket is None:
            bucket = buckets[owner] = _Bucket(float(self._budget.burst), now)
        self._fill(bucket, now)
        return bucket

    def _fill(self, bucket: _Bucket, now: int) -> None:
        earned = (now - bucket.filled_boot_ns) / NS * self._budget.per_second
        bucket.lines = min(float(self._budget.burst), bucket.lines + earned)
        bucket.filled_boot_ns = now

    def _sweep(self, buckets: dict[LineOwner, _Bucket], now: int) -> None:
        """Drop the full buckets; at most once a second, since it visits all."""
        if now - self._swept_boot_ns < _SWEEP_NS:
            return
        self._swept_boot_ns = now
        for owner, bucket in list(buckets.items()):
            self._fill(bucket, now)
            if bucket.lines >= self._budget.burst:
                del buckets[owner]
