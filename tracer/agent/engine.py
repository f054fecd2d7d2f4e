"""The loop: source → table → enrichment → sinks. The agent and --follow both run it."""

import logging
import os
import platform
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tracer.agent import summary
from tracer.agent.reporter import Reporter
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError, TracerError
from tracer.model import Detected, Losses, Source, Transition
from tracer.model.event import Event, EventName, Sink
from tracer.model.status import EngineStatus, ZombieGroup
from tracer.sources.select import Makers, next_after, open_source
from tracer.state.checkpoint import Checkpoint
from tracer.table.table import Table, Totals

_log = logging.getLogger(__name__)

SNAPSHOT_NS = 60 * NS
FULL_MAP_SNAPSHOT_NS = 2 * NS
SUMMARY_NS = 300 * NS
STATUS_NS = 2 * NS
SNAPSHOT_SHARE = 50
"""Between snapshots passes at least so many times the processor time of the last one."""
_SHORTEST_SNAPSHOT_PAUSE_NS = NS
_REPORTED_AT_ONCE = 256
_LOSS_REPORTED_NS = 60 * NS
"""Losses are told at most so often, however often they happen."""


class Pods(Protocol):
    """The watch on this node's pods, as far as the engine looks at it."""

    up: bool
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine runs.

    Attributes:
        source: auto, core, bcc or proc.
        node_name: of this node.
        gap_ns: the shortest time between two looks at a busy source.
        not_ready: why this agent cannot see all that it should; None when it can.
        close_seconds: what the sinks may take to write out at the end.
        facts: further fields of agent_started.
    """

    source: str
    node_name: str
    gap_ns: int = NS // 20
    not_ready: str | None = None
    close_seconds: float = 5.0
    facts: dict[str, object] = field(default_factory=dict)


class Engine:
    """Owns the source and the table; everything but sinks and the pod watch runs in its thread.

    Args:
        settings: how to run.
        makers: how to construct each source.
        table: empty.
        reporter: reports to emit_to_sinks().
        use_source: makes the diagnosis ask this source from now on.
        sinks: where events go.
        memory: what survives a restart.
        pods: the watch on pods, if there is one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        makers: Makers,
        table: Table,
        reporter: Reporter,
        use_source: Callable[[Source], None],
        sinks: Sequence[Sink],
        memory: Checkpoint,
        pods: Pods | None = None,
    ) -> None:
        self._settings = settings
        self._makers = makers
        self._table = table
        self._reporter = reporter
        self._use_source = use_source
        self._sinks = sinks
        self._memory = memory
        self._pods = pods
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stop_reason: str | None = None
        self._source: Source | None = None
        self._reason = ""
        self._started_boot_ns = self._next_snapshot_boot_ns = boot_ns()
        self._next_summary_boot_ns = self._started_boot_ns + SUMMARY_NS
        self._next_status_boot_ns = 0
        self._snapshot_ns: int | None = None
        self._snapshot_cpu_ns = 0
        self._compared_boot_ns = 0
        self._losses = Losses()
        self._loss_reported_boot_ns = -_LOSS_REPORTED_NS
        self._summarised = Totals(0, 0, 0)
        self._groups: tuple[ZombieGroup, ...] = ()
        self._next_groups_boot_ns = 0
        self.status = EngineStatus()

    def stop(self, reason: str) -> None:
        """End run() soon. May be called from a signal handler or another thread."""
        if self._stop_reason is None:
            self._stop_reason = reason
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Run until stop().

        Raises:
            PermanentError: no source can see here, or the one asked for cannot.
        """
        try:
            self._memory.open()
            self._source, self._reason = open_source(self._settings.source, make=self._makers)
            self._use(self._source)
            self._emit(EventName.AGENT_STARTED, self._started_fields())
            self._memory.restore(self._table, self._reporter, boot_ns())
            while self._stop_reason is None:
                self._round()
                self._rest()
            self._reporter.release(boot_ns(), everything=True)
            self._memory.save(self._table, boot_ns())
            self._emit(EventName.AGENT_STOPPED, self._stopped_fields())
        finally:
            if self._source is not None:
                self._source.close()
            for sink in self._sinks:
                sink.close(self._settings.close_seconds)
            self._memory.close()

    def _use(self, source: Source) -> None:
        self._source = source
        self._losses = Losses()
        self._use_source(source)
        self._next_snapshot_boot_ns = boot_ns()
        _log.debug("source %s: %s", source.name, self._reason)

    def _round(self) -> None:
        """Look once at everything that is due."""
        now = boot_ns()
        try:
            self._observe(now)
        except TracerError as error:
            self._fall_back(error)
            return
        now = boot_ns()
        self._take(self._table.tick(now), now)
        if self._table.wants_snapshot:
            soon = self._compared_boot_ns + self._snapshot_pause_ns()
            self._next_snapshot_boot_ns = min(self._next_snapshot_boot_ns, soon)
        self._reporter.release(now)
        if now >= self._next_summary_boot_ns:
            self._next_summary_boot_ns = now + SUMMARY_NS
            self._emit(EventName.SUMMARY, self._summary_fields())
        if now >= self._next_status_boot_ns:
            self._next_status_boot_ns = now + STATUS_NS
        self._memory.save_when_due(self._table, now)
        self._publish(now)

    def _observe(self, now: int) -> None:
        source = self._running()
        self._take(self._table.apply(source.poll(now), now), now)
        losses = source.losses()
        lost = losses.total - self._losses.total
        # Losing all the time must not mean comparing all the time.
        may = now >= self._compared_boot_ns + self._snapshot_pause_ns()
        if now >= self._next_snapshot_boot_ns or (lost and may):
            self._losses = losses
            self._reconcile(now)
            if lost:
                self._report_loss(losses, lost, now)

    def _snapshot_pause_ns(self) -> int:
        return max(_SHORTEST_SNAPSHOT_PAUSE_NS, SNAPSHOT_SHARE * self._snapshot_cpu_ns)

    def _reconcile(self, now: int) -> None:
        source = self._running()
        began_cpu_ns = time.thread_time_ns()
        transitions = self._table.reconcile(source.snapshot(), now)
        done = boot_ns()
        # On a busy node the wall clock would say how busy it is, not what this costs.
        self._snapshot_cpu_ns = time.thread_time_ns() - began_cpu_ns
        self._snapshot_ns, self._compared_boot_ns = done - now, done
        # A full map holds no place for every zombie: of some, only a comparison can tell
        # that they were reaped.
        often = FULL_MAP_SNAPSHOT_NS if source.losses().map_full else SNAPSHOT_NS
        self._next_snapshot_boot_ns = done + max(often, self._snapshot_pause_ns())
        self._take(transitions, done)
        # What was reaped while the snapshot was read is in the queue.
        self._take(self._table.apply(source.poll(done), done), done)
        self._check_delivery(transitions)

    def _check_delivery(self, transitions: Sequence[Transition]) -> None:
        """Find out whether the source's hooks have stopped firing.

        A snapshot shows a zombie that was born after we attached, and nobody saw it
        die though nothing was counted as lost: the hook is not there any more.
        """
        source = self._running()
        attached = source.attached_boot_ns
        if attached is None or source.losses().total:
            return
        for transition in transitions:
            if isinstance(transition, Detected):
                child = transition.zombie.child
                if child.exit_boot_ns is None and child.start_boot_ns > attached:
                    raise PermanentError(
                        f"process {child.identity.pid} died unseen after the hooks were attached:"
                        " they no longer fire"
                    )

    def _fall_back(self, error: TracerError) -> None:
        """Go on with the next source; the snapshot that follows loses no zombie."""
        failed = self._running()
        failed.close()
        if self._settings.source != "auto":
            raise error
        self._source, self._reason = next_after(failed.name, error, make=self._makers)
        self._use(self._source)
        names = {"name": self._source.name, "previous": failed.name, "reason": self._reason}
        self._emit(EventName.SOURCE_CHANGED, {"source": names})

    def _report_loss(self, losses: Losses, lost: int, now: int) -> None:
        if now < self._loss_reported_boot_ns + _LOSS_REPORTED_NS:
            return
        self._loss_reported_boot_ns = now
        source = self._running()
        reason = (
            f"{lost} events lost, compared with a snapshot;"
            " a larger --map-entries makes room for more"
        )
        name = source.name
        self._emit(
            EventName.SOURCE_CHANGED,
            {
                "source": {"name": name, "previous": name, "reason": reason},
                "lost": summary.lost(losses, self._dropped()),
            },
        )

    def _take(self, transitions: Sequence[Transition], now: int) -> None:
        for start in range(0, len(transitions), _REPORTED_AT_ONCE):
            self._reporter.report(transitions[start : start + _REPORTED_AT_ONCE], now)
            # Reporting many parents takes a while: the loop is alive, it does not hang.
            self.status = replace(self.status, last_tick_boot_ns=boot_ns())
        if transitions:
            self._next_status_boot_ns = min(self._next_status_boot_ns, now + NS // 2)

    def _rest(self) -> None:
        """Wait for the source, a deadline or stop()."""
        now = boot_ns()
        source = self._running()
        deadlines = [
            source.next_poll_boot_ns(now),
            self._next_snapshot_boot_ns,
            self._next_summary_boot_ns,
        ]
        others = (
            self._table.next_due_boot_ns(),
            self._reporter.next_release_boot_ns(now),
            self._memory.next_due_boot_ns(),
        )
        deadlines.extend(due for due in others if due is not None)
        gap_end = now + self._settings.gap_ns
        if self._poll([self._wake], min(max(min(deadlines), now), gap_end) - now):
            os.eventfd_read(self._wake)
            return
        now = boot_ns()
        descriptor = source.fileno()
        watched = [self._wake] if descriptor is None else [self._wake, descriptor]
        if self._wake in self._poll(watched, min(deadlines) - now):
            os.eventfd_read(self._wake)

    @staticmethod
    def _poll(descriptors: Sequence[int], timeout_ns: int) -> list[int]:
        watch = select.poll()
        for descriptor in descriptors:
            watch.register(descriptor, select.POLLIN)
        # Rounded up: waking a moment early would only mean waking twice.
        milliseconds = max(0, -(-timeout_ns // 1_000_000))
        return [descriptor for descriptor, _ in watch.poll(milliseconds)]

    def _running(self) -> Source:
        if self._source is None:
            raise PermanentError("no source is attached")
        return self._source

    def emit_to_sinks(self, event: Event) -> None:
        """Hand an event to every sink; one that fails does not keep it from the others."""
        for sink in self._sinks:
            try:
                sink.emit(event)
            except Exception as error:  # noqa: BLE001 - whatever a sink does, detection goes on
                _log.warning("sink %s failed: %r", type(sink).__name__, error)

    def _emit(self, name: EventName, fields: summary.Fields) -> None:
        self.emit_to_sinks(Event(name, boot_ns(), fields=fields))

    def _publish(self, now: int) -> None:
        """Replace the status that other threads read."""
        source = self._running()
        if now >= self._next_groups_boot_ns:
            self._next_groups_boot_ns = now + STATUS_NS
            self._groups = self._count_groups(now)
        self.status = EngineStatus(
            last_tick_boot_ns=now,
            source=source.name,
            not_ready=self._settings.not_ready,
            groups=self._groups,
            exits=source.exits(),
            losses=source.losses(),
            sink_drops=self._dropped(),
            snapshot_ns=self._snapshot_ns,
            kubernetes_up=None if self._pods is None else self._pods.up,
        )

    def _count_groups(self, now: int) -> tuple[ZombieGroup, ...]:
        storms = []
        for storm in self._table.storms(now):
            facts = self._reporter.storm_facts(storm.parent)
            if facts is not None:
                storms.append((storm, facts))
        return summary.groups(self._reporter.records(), storms, now)

    def _dropped(self) -> int:
        return sum(sink.dropped() for sink in self._sinks)

    def _started_fields(self) -> summary.Fields:
        return {
            "source": {"name": self._running().name, "reason": self._reason},
            "os": {"kernel": platform.release(), "machine": platform.machine()},
            **self._settings.facts,
        }

    def _stopped_fields(self) -> summary.Fields:
        now = boot_ns()
        return {
            "source": {"name": self._running().name, "reason": self._stop_reason},
            "zombies": summary.zombies(
                self._table.totals(), Totals(0, 0, 0), self._count_groups(now)
            ),
            "lost": summary.lost(self._running().losses(), self._dropped()),
            "exits": self._running().exits(),
            "uptime_seconds": round((now - self._started_boot_ns) / NS, 3),
        }

    def _summary_fields(self) -> summary.Fields:
        source, now = self._running(), boot_ns()
        since, self._summarised = self._summarised, self._table.totals()
        pods = self._pods
        return {
            "source": {"name": source.name, "reason": self._reason},
            "zombies": summary.zombies(self._summarised, since, self._count_groups(now)),
            "lost": summary.lost(source.losses(), self._dropped()),
            "exits": source.exits(),
            "kubernetes": {
                "up": None if pods is None else pods.up,
                "error": None if pods is None else pods.last_error,
            },
            "uptime_seconds": round((now - self._started_boot_ns) / NS, 3),
        }
