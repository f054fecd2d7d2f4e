"""Brings what the source sees into the table: polls it, and compares both by snapshots."""

import time

from tracer.agent.followers import Followers
from tracer.agent.snapshots import SnapshotSchedule
from tracer.agent.supervisor import SourceChange, Supervisor
from tracer.clock import boot_ns
from tracer.errors import PermanentError
from tracer.model import Transition
from tracer.table.table import Table


class Observer:
    """Between the source in use and the agent's own table.

    Args:
        sources: the source in use.
        table: the agent's own.
        followers: the live views; they get what the source reports, and what is too young for
            the agent's own table waits in their gate.

    Attributes:
        snapshot_ns: how long the last snapshot took; None before the first.
    """

    def __init__(self, sources: Supervisor, table: Table, followers: Followers) -> None:
        self._sources = sources
        self._table = table
        self._followers = followers
        self._gate = followers.gate
        self._schedule = SnapshotSchedule(boot_ns())
        self.snapshot_ns: int | None = None

    def restart(self, now_boot_ns: int) -> None:
        """Begin anew with another source: the first thing is a snapshot."""
        self._schedule.restart(now_boot_ns)

    def hasten(self, now_boot_ns: int) -> None:
        """Take a snapshot next: an error may have cost observations."""
        self._schedule.hasten(now_boot_ns)

    def want_snapshot(self) -> None:
        """Take a snapshot as soon as its cost allows: only that shows who has a zombie now."""
        self._schedule.hasten(self._schedule.pause_end_boot_ns)

    def next_boot_ns(self, now_boot_ns: int) -> int:
        """Return when observe() is to be called."""
        poll = self._sources.next_poll_boot_ns(now_boot_ns)
        if self._sources.problem is not None:
            return poll  # no snapshot before the source works again
        return min(poll, self._schedule.next_boot_ns)

    def observe(self, now_boot_ns: int, transitions: list[Transition]) -> SourceChange | None:
        """Poll the source, and compare with a snapshot when one is due.

        Args:
            now_boot_ns: now.
            transitions: what the table says has happened is added here, also before an error.

        Returns:
            what the source lost, if that is to be reported.

        Raises:
            Exception: whatever the source raises, for Supervisor.failed().
        """
        self._poll(now_boot_ns, transitions)
        if not self._schedule.due(now_boot_ns):
            return None
        self._compare(now_boot_ns, transitions)
        loss = self._schedule.loss_to_report(now_boot_ns)
        name = self._sources.name
        return None if loss is None else SourceChange(name, name, loss, improvement=False)

    def tick(self, now_boot_ns: int) -> list[Transition]:
        """Return what time alone brings; next_boot_ns() knows nothing of it."""
        released = self._gate.release(now_boot_ns)
        transitions = self._table.apply(released, now_boot_ns) if released else []
        return transitions + self._table.tick(now_boot_ns)

    def next_tick_boot_ns(self) -> int | None:
        """Return when tick() is to be called; None when nothing is to come."""
        dues = (self._gate.next_due_boot_ns(), self._table.next_due_boot_ns())
        return min((due for due in dues if due is not None), default=None)

    def _poll(
        self, now_boot_ns: int, transitions: list[Transition], *, after_snapshot: bool = False
    ) -> None:
        observations = self._sources.poll(now_boot_ns)
        self._followers.observed(observations)
        own = self._gate.take(observations, now_boot_ns)
        transitions += self._table.apply(own, now_boot_ns)
        losses = self._sources.losses()
        self._schedule.note(losses, now_boot_ns, after_snapshot=after_snapshot)

    def _compare(self, now_boot_ns: int, transitions: list[Transition]) -> None:
        """Make the table equal to a snapshot."""
        began_cpu_ns = time.thread_time_ns()
        self._schedule.begin()
        snapshot = self._gate.filtered(self._sources.snapshot(), self._table, now_boot_ns)
        found = self._table.reconcile(snapshot, now_boot_ns)
        self._followers.compared()
        transitions += found
        done_boot_ns = boot_ns()
        self.snapshot_ns = done_boot_ns - now_boot_ns
        cpu_ns = time.thread_time_ns() - began_cpu_ns
        # What was reaped while the snapshot was read waits in the source.
        self._poll(done_boot_ns, transitions, after_snapshot=True)
        self._schedule.taken(done_boot_ns, cpu_ns)
        unseen = self._schedule.unseen_death(found, self._sources.attached_boot_ns)
        if unseen is not None:
            raise PermanentError(
                f"it did not see the exit of pid {unseen.pid}: its hooks no longer fire"
            )
