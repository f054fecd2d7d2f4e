"""The agent's own numbers: fields of its events, and groups for the metrics. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tracer.model import Attribution, Cause, Losses, Record, Storm, StormFacts
from tracer.model.status import ZombieGroup, lost_by_stage
from tracer.render.fields import KERNEL_BYTES
from tracer.table.table import Totals

Fields = dict[str, object]
"""A part of an event's document, nested as it is logged."""

KnownStorm = tuple[Storm, StormFacts]
"""A storm that the filters accept, and what is known of it."""

_Key = tuple[str | None, str | None, str | None, str | None]
"""Namespace, pod, container, cause."""


@dataclass(slots=True)
class _Count:
    zombies: int = 0
    oldest_boot_ns: int | None = None

    def add(self, zombies: int, since_boot_ns: int | None) -> None:
        self.zombies += zombies
        if since_boot_ns is not None:
            oldest = self.oldest_boot_ns
            self.oldest_boot_ns = since_boot_ns if oldest is None else min(oldest, since_boot_ns)


@dataclass(slots=True)
class _Groups:
    counts: dict[_Key, _Count] = field(default_factory=dict)

    def add(
        self, attribution: Attribution, cause: Cause | None, zombies: int, since: int | None
    ) -> None:
        workload = attribution.workload
        code = None if cause is None else cause.code.value
        key: _Key = (None, None, None, code)
        if workload is not None:
            key = (workload.namespace, workload.pod, workload.container, code)
        self.counts.setdefault(key, _Count()).add(zombies, since)


def groups(
    records: Iterable[Record], storms: Iterable[KnownStorm], now_boot_ns: int
) -> tuple[ZombieGroup, ...]:
    """Count the reported zombies by container and cause, those of storms included."""
    found = _Groups()
    for record in records:
        child = record.zombie.child
        since = child.dead_since_boot_ns
        since = record.zombie.first_seen_boot_ns if since is None else since
        found.add(record.attribution, record.cause, 1, since)
    for storm, facts in storms:
        age_ns = storm.oldest_age_ns
        oldest = None if age_ns is None else now_boot_ns - age_ns
        found.add(facts.attribution, facts.cause, storm.zombies, oldest)
    return tuple(
        ZombieGroup(*key, count.zombies, count.oldest_boot_ns, count.zombies * KERNEL_BYTES)
        for key, count in found.counts.items()
    )


def by_namespace(counted: Iterable[ZombieGroup]) -> list[Fields]:
    """Sum groups by namespace; null is for zombies outside pods or in unknown ones."""
    sums: dict[str, int] = {}
    for group in counted:
        name = group.namespace or ""
        sums[name] = sums.get(name, 0) + group.zombies
    return [{"name": name or None, "zombies": sums[name]} for name in sorted(sums)]


def zombies(totals: Totals, since: Totals, counted: Iterable[ZombieGroup]) -> Fields:
    """Return how many there are, and how many came and went since the last time."""
    return {
        "now": totals.zombies,
        "detected": totals.detected - since.detected,
        "reaped": totals.reaped - since.reaped,
        "by_namespace": by_namespace(counted),
    }


def lost(losses: Losses, dropped: int) -> Fields:
    """Name each stage with what it lost."""
    return {**lost_by_stage(losses, dropped)}
