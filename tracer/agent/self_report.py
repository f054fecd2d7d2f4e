"""What the agent says about itself: its status, and the fields of its own events."""

import platform
from collections.abc import Mapping
from typing import Protocol

from tracer.agent import summary
from tracer.agent.reporter import Reporter
from tracer.agent.summary import Fields
from tracer.agent.supervisor import SourceChange, Supervisor
from tracer.clock import NS, boot_ns
from tracer.model.event import Event, EventName, Sink
from tracer.model.status import EngineStatus, StatusBoard, ZombieGroup
from tracer.table.table import Table, Totals

_GROUPS_NS = 2 * NS
"""Zombies are counted by pod and cause at most this often."""
_TROUBLE_REPORTED_NS = 60 * NS


class Pods(Protocol):
    """The watch on this node's pods, as far as the agent reports its state."""

    up: bool
    last_error: str | None


class SelfReport:
    """Emits the events about the agent itself and publishes its status.

    Args:
        sources: the source in use.
        table: all zombies.
        reporter: what was reported of them.
        sink: where events go.
        board: where the status goes.
        pods: the watch on pods, if there is one.
        not_ready: why this agent cannot see everything on the node; None when it can.
    """

    def __init__(
        self,
        *,
        sources: Supervisor,
        table: Table,
        reporter: Reporter,
        sink: Sink,
        board: StatusBoard,
        pods: Pods | None,
        not_ready: str | None,
    ) -> None:
        self._sources = sources
        self._table = table
        self._reporter = reporter
        self._sink = sink
        self._board = board
        self._pods = pods
        self._not_ready = not_ready
        self._started_boot_ns = boot_ns()
        self._summarised = Totals(0, 0, 0)
        self._groups: tuple[ZombieGroup, ...] = ()
        self._next_groups_boot_ns = 0
        self._in_trouble = self._trouble_reported = False
        self._trouble_since_boot_ns = self._next_trouble_boot_ns = 0

    def publish(
        self, now_boot_ns: int | None, *, snapshot_ns: int | None, problem: str | None
    ) -> None:
        """Replace the status that other threads read.

        Args:
            now_boot_ns: now; None while the loop has not begun.
            snapshot_ns: how long the last snapshot took.
            problem: why reports are late or incomplete now.
        """
        if now_boot_ns is not None and now_boot_ns >= self._next_groups_boot_ns:
            self._next_groups_boot_ns = now_boot_ns + _GROUPS_NS
            self._groups = self._count_groups(now_boot_ns)
        self._board.publish(
            EngineStatus(
                last_tick_boot_ns=now_boot_ns,
                source=self._source_name(),
                not_ready=problem or self._not_ready,
                groups=self._groups,
                exits=self._sources.exits(),
                losses=self._sources.losses(),
                sink_drops=self._sink.dropped(),
                snapshot_ns=snapshot_ns,
                kubernetes_up=None if self._pods is None else self._pods.up,
            )
        )

    def started(self, facts: Mapping[str, object]) -> None:
        """Emit agent_started, with further fields."""
        fields: Fields = {
            "source": {"name": self._sources.name, "reason": self._sources.reason},
            "os": {"kernel": platform.release(), "machine": platform.machine()},
            **facts,
        }
        self._emit(EventName.AGENT_STARTED, fields)

    def stopped(self, reason: str | None, *, failed: bool) -> None:
        """Emit agent_stopped; its level is error when the agent failed."""
        now = boot_ns()
        fields: Fields = {
            "source": {"name": self._source_name(), "reason": reason},
            "zombies": summary.zombies(
                self._table.totals(), Totals(0, 0, 0), self._count_groups(now)
            ),
            **self._counters(),
            "uptime_seconds": self._uptime_seconds(now),
        }
        self._emit(EventName.AGENT_STOPPED, fields, level="error" if failed else None)

    def summary(self) -> None:
        """Emit summary: zombies now, and what came and went since the last one."""
        now = boot_ns()
        since, self._summarised = self._summarised, self._table.totals()
        pods = self._pods
        fields: Fields = {
            "source": {"name": self._sources.name, "reason": self._sources.reason},
            "zombies": summary.zombies(self._summarised, since, self._count_groups(now)),
            **self._counters(),
            "kubernetes": {
                "up": None if pods is None else pods.up,
                "error": None if pods is None else pods.last_error,
            },
            "uptime_seconds": self._uptime_seconds(now),
        }
        self._emit(EventName.SUMMARY, fields)

    def source_changed(self, change: SourceChange) -> None:
        """Emit source_changed; its level is info when it is an improvement."""
        if change.name != change.previous:
            self._in_trouble = self._trouble_reported = False  # this line says how it ended
        source = {"name": change.name, "previous": change.previous, "reason": change.reason}
        self._emit(
            EventName.SOURCE_CHANGED,
            {"source": source, "lost": self._lost()},
            level="info" if change.improvement else None,
        )

    def trouble(self, problem: str | None, now_boot_ns: int) -> None:
        """Say once that zombies are reported late and why, and once that this is over.

        Troubles that follow each other closely are reported once a minute.

        Args:
            problem: why; None when all is well.
            now_boot_ns: now.
        """
        name = self._source_name()
        if problem is None:
            if self._trouble_reported:
                seconds = (now_boot_ns - self._trouble_since_boot_ns) / NS
                text = (
                    f"recovered after {seconds:.1f} s; what happened meanwhile"
                    " is reported now, no zombie is missing"
                )
                self.source_changed(SourceChange(name, name, text, improvement=True))
            self._in_trouble = self._trouble_reported = False
            return
        if not self._in_trouble:
            self._in_trouble, self._trouble_since_boot_ns = True, now_boot_ns
        if not self._trouble_reported and now_boot_ns >= self._next_trouble_boot_ns:
            self._trouble_reported = True
            self._next_trouble_boot_ns = now_boot_ns + _TROUBLE_REPORTED_NS
            text = f"{problem}; trying again, zombies are reported late until then"
            self.source_changed(SourceChange(name, name, text, improvement=False))

    def _emit(self, name: EventName, fields: Fields, *, level: str | None = None) -> None:
        self._sink.emit(Event(name, boot_ns(), fields=fields, level=level))

    def _source_name(self) -> str | None:
        return self._sources.name if self._sources.running else None

    def _lost(self) -> Fields:
        return summary.lost(self._sources.losses(), self._sink.dropped())

    def _counters(self) -> Fields:
        return {"lost": self._lost(), "exits": self._sources.exits()}

    def _uptime_seconds(self, now_boot_ns: int) -> float:
        return round((now_boot_ns - self._started_boot_ns) / NS, 3)

    def _count_groups(self, now_boot_ns: int) -> tuple[ZombieGroup, ...]:
        storms = []
        for storm in self._table.storms(now_boot_ns):
            facts = self._reporter.storm_facts(storm.parent)
            if facts is not None:
                storms.append((storm, facts))
        return summary.groups(self._reporter.records(), storms, now_boot_ns)
