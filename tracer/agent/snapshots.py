"""When the table is compared with a snapshot of all zombies, and what the source has lost. Pure."""

from collections.abc import Iterable
from dataclasses import asdict, astuple, replace

from tracer.clock import NS
from tracer.model import Detected, Identity, Losses, Transition

EVERY_NS = 60 * NS
FULL_MAP_EVERY_NS = 2 * NS
FULL_MAP_NS = 60 * NS
"""For so long after its last overflow the kernel's map counts as full."""
COST_SHARE = 50
"""The pause after a snapshot is at least so many times the processor time that it took."""
_SHORTEST_PAUSE_NS = NS
_LOSS_REPORTED_NS = 60 * NS
"""Losses are reported at most this often, however often they happen."""


class SnapshotSchedule:
    """Decides when the next snapshot is due.

    Every minute; at once after a loss; every 2 s while the kernel's map overflows, because of
    a zombie that found no place in it, only a snapshot shows that it was reaped. Never so
    often that snapshots take more than a fiftieth of a core.

    Args:
        now_boot_ns: the first is due then.
    """

    def __init__(self, now_boot_ns: int) -> None:
        self.restart(now_boot_ns)

    def restart(self, now_boot_ns: int) -> None:
        """Begin anew with another source: it counts its losses from zero."""
        self._lost = self._compared = self._reported = Losses()
        self._last_loss_boot_ns: int | None = None
        self._overflow_boot_ns: int | None = None
        self._loss_reported_boot_ns: int | None = None
        self.pause_end_boot_ns = self._next_boot_ns = now_boot_ns

    def hasten(self, now_boot_ns: int) -> None:
        """Make a snapshot due at this time, if it is not due sooner."""
        self._next_boot_ns = min(self._next_boot_ns, now_boot_ns)

    def note(self, losses: Losses, now_boot_ns: int, *, after_snapshot: bool = False) -> None:
        """Take the source's counters. One that could not be read and shows less is ignored.

        Args:
            losses: as the source counts them.
            now_boot_ns: now.
            after_snapshot: the last thing was a snapshot. In a full map it finds no room for
                zombies and counts them: that is no reason for another snapshot at once.
        """
        highest = Losses(*map(max, astuple(self._lost), astuple(losses)))
        if highest.map_full > self._lost.map_full:
            self._overflow_boot_ns = now_boot_ns
        if after_snapshot:
            own = {"map_full": highest.map_full, "queue_full": highest.queue_full}
            self._compared = replace(self._compared, **own)
            self._lost = replace(self._lost, **own)
        if highest.total > self._lost.total:
            self._last_loss_boot_ns = now_boot_ns
        self._lost = highest

    @property
    def next_boot_ns(self) -> int:
        """When the next snapshot is due."""
        if self._lost.total > self._compared.total:
            return min(self._next_boot_ns, self.pause_end_boot_ns)
        return self._next_boot_ns

    def due(self, now_boot_ns: int) -> bool:
        """Return whether a snapshot is due."""
        return now_boot_ns >= self.next_boot_ns

    def begin(self) -> None:
        """Note that a snapshot is about to be taken: it replaces what was lost until now."""
        self._compared = self._lost

    def taken(self, done_boot_ns: int, cpu_ns: int) -> None:
        """Note that the table was compared with the snapshot.

        Args:
            done_boot_ns: now.
            cpu_ns: processor time that it took. The time that passed would say how busy the
                node is, not what a snapshot costs.
        """
        pause_ns = max(_SHORTEST_PAUSE_NS, COST_SHARE * cpu_ns)
        every_ns = FULL_MAP_EVERY_NS if self._map_is_full(done_boot_ns) else EVERY_NS
        self.pause_end_boot_ns = done_boot_ns + pause_ns
        self._next_boot_ns = done_boot_ns + max(every_ns, pause_ns)

    def _map_is_full(self, now_boot_ns: int) -> bool:
        overflow = self._overflow_boot_ns
        return overflow is not None and now_boot_ns - overflow < FULL_MAP_NS

    def loss_to_report(self, now_boot_ns: int) -> str | None:
        """Return a sentence about what was lost since the last one; None when it can wait."""
        last = self._loss_reported_boot_ns
        if self._lost.total == self._reported.total or (
            last is not None and now_boot_ns < last + _LOSS_REPORTED_NS
        ):
            return None
        before = asdict(self._reported)
        moved = {
            stage: count - before[stage]
            for stage, count in asdict(self._lost).items()
            if count > before[stage]
        }
        self._reported, self._loss_reported_boot_ns = self._lost, now_boot_ns
        stages = ", ".join(f"{stage} {count}" for stage, count in moved.items())
        remedy = "; to make room for more, raise --map-entries" if "map_full" in moved else ""
        return (
            f"events of the kernel were lost ({stages});"
            f" a snapshot replaced them, no zombie is missing{remedy}"
        )

    def unseen_death(
        self, transitions: Iterable[Transition], attached_boot_ns: int | None
    ) -> Identity | None:
        """Return a zombie whose death the source's hooks should have seen and did not.

        It was forked after the hooks were attached, a snapshot shows it, its death was not
        seen, and nothing was lost since it was forked: the hooks no longer fire. It is of the
        minimum age, so what was lost while the snapshot was read is no excuse.

        Args:
            transitions: what the snapshot brought.
            attached_boot_ns: when the hooks were attached; None for a source without hooks.
        """
        if attached_boot_ns is None:
            return None
        last_loss = -1 if self._last_loss_boot_ns is None else self._last_loss_boot_ns
        since = max(attached_boot_ns, last_loss)
        for transition in transitions:
            if isinstance(transition, Detected):
                child = transition.zombie.child
                if child.exit_boot_ns is None and child.start_boot_ns > since:
                    return child.identity
        return None
