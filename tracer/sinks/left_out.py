"""Which lines were left out of the log, and whose: counted by namespace, and reported."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from threading import Lock
from typing import NamedTuple

from tracer.clock import NS, boot_ns
from tracer.model.event import EventName
from tracer.model.status import OTHER
from tracer.sinks.owner import Names

NAMESPACES = 250
"""Namespaces counted by name; the rest are counted as OTHER."""
_PODS = 100
"""Pods counted by name in one report."""

ENDED_NS = 10 * NS
"""So long after the last line was left out, the loss is over."""
_REPORT_NS = 60 * NS
"""A loss that lasts is reported this often."""


class Reason(StrEnum):
    """Why a line was left out."""

    OVER_BUDGET = "over_budget"
    """Its pod had filled its share of the log."""
    QUEUE_FULL = "queue_full"
    """The reader of the log was too slow."""


class Loss(NamedTuple):
    """Lines of one namespace that were left out for one reason, since the last report.

    Attributes:
        namespace: None for zombies outside pods or in unknown ones.
        reason: why.
        events: how many lines of which event.
        pods: how many lines of which pod; OTHER stands for the pods beyond a limit.
    """

    namespace: str | None
    reason: Reason
    events: dict[str, int]
    pods: dict[str, int]

    @property
    def lines(self) -> int:
        """How many lines."""
        return sum(self.events.values())


@dataclass(slots=True)
class _Count:
    total: int = 0
    events: Counter[str] = field(default_factory=Counter)
    pods: Counter[str] = field(default_factory=Counter)
    last_boot_ns: int = 0
    reported_boot_ns: int = 0

    def due_boot_ns(self) -> int:
        """Return when it is to be reported, if nothing more is left out until then."""
        return min(self.last_boot_ns + ENDED_NS, self.reported_boot_ns + _REPORT_NS)


class LeftOut:
    """Counts the lines that are missing in the log. Thread-safe.

    Args:
        clock: boot time in nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = boot_ns) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts: dict[tuple[str | None, Reason], _Count] = {}
        self._unreported: set[tuple[str | None, Reason]] = set()

    def add(self, names: Names, reason: Reason, event: EventName) -> None:
        """Count one line."""
        now = self._clock()
        with self._lock:
            key = names.namespace, reason
            if key not in self._counts and len(self._counts) >= NAMESPACES * len(Reason):
                key = OTHER, reason
            count = self._counts.setdefault(key, _Count())
            if key not in self._unreported:
                self._unreported.add(key)
                count.reported_boot_ns = now
            count.total += 1
            count.last_boot_ns = now
            count.events[event.value] += 1
            if names.pod is not None:
                known = names.pod in count.pods or len(count.pods) < _PODS
                count.pods[names.pod if known else OTHER] += 1

    def by_namespace(self) -> list[dict[str, object]]:
        """Return the sums since the start, as `lost.by_namespace` has them."""
        with self._lock:
            totals = {key: count.total for key, count in self._counts.items()}
        names = sorted({namespace for namespace, _ in totals}, key=lambda name: name or "")
        return [
            {"name": name, **{reason.value: totals.get((name, reason), 0) for reason in Reason}}
            for name in names
        ]

    def due(self, *, everything: bool = False) -> list[Loss]:
        """Return what is to be reported now: losses that are over, or that last for a minute.

        Args:
            everything: report all, because the log ends.
        """
        if not self._unreported:
            return []
        now = self._clock()
        losses = []
        with self._lock:
            for key in list(self._unreported):
                count = self._counts[key]
                if everything or now >= count.due_boot_ns():
                    losses.append(Loss(*key, dict(count.events), dict(count.pods)))
                    count.events, count.pods = Counter(), Counter()
                    self._unreported.remove(key)
        return losses

    @property
    def pending(self) -> bool:
        """Whether a loss is still to be reported."""
        return bool(self._unreported)
