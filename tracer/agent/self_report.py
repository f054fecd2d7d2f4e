"""What the agent says about itself: its status, and the fields of its own events."""

import platform
from collections.abc import Iterable, Mapping
from typing import Protocol

from tracer.agent import summary
from tracer.agent.outage import Outage
from tracer.agent.reporter import Reporter
from tracer.agent.summary import Fields
from tracer.agent.supervisor import SourceChange, Supervisor
from tracer.clock import NS, boot_ns, boot_to_wall_ns, rfc3339
from tracer.model import Detected, Transition
from tracer.model.event import Event, EventName, Sink
from tracer.model.status import EngineStatus, StatusBoard, ZombieGroup
from tracer.table.table import Table, Totals

_GROUPS_NS = 2 * NS
"""Zombies are counted by pod and cause at most this often."""
_KUBERNETES_GRACE_NS = 3 * NS
"""At a start, or when an API server is replaced, the watch needs a moment."""
_FALLBACK = (
    "pods that are known keep their names, the names of others come from the node's log folders"
)


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
        self._at_start = self._summarised = Totals(0, 0, 0)
        self._groups: tuple[ZombieGroup, ...] = ()
        self._next_groups_boot_ns = 0
        self._trouble = Outage()
        self._outage = Outage(grace_ns=_KUBERNETES_GRACE_NS)

    def publish(
        self, now_boot_ns: int | None, *, snapshot_ns: int | None, problem: str | None
    ) -> None:
        """Replace the status that other threads read, and report what changed in Kubernetes.

        Args:
            now_boot_ns: now; None while the loop has not begun.
            snapshot_ns: how long the last snapshot took.
            problem: why reports are late or incomplete now.
        """
        if now_boot_ns is not None and now_boot_ns >= self._next_groups_boot_ns:
            self._next_groups_boot_ns = now_boot_ns + _GROUPS_NS
            self._groups = self._count_groups(now_boot_ns)
        if now_boot_ns is not None and self._pods is not None:
            self._kubernetes(self._pods, now_boot_ns)
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

    def restored(self, unwritten: Iterable[Transition]) -> None:
        """Leave out of the counts what an earlier agent detected, and what it saw reaped.

        Args:
            unwritten: what it did not report; that counts for this agent.
        """
        totals = self._table.totals()
        mine = sum(isinstance(each, Detected) for each in unwritten)
        self._at_start = self._summarised = totals._replace(detected=totals.detected - mine)

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
                self._table.totals(), self._at_start, self._count_groups(now)
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
            self._trouble.works()  # this line says how it ended
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
        if problem is not None:
            if self._trouble.fails(now_boot_ns):
                text = f"{problem}; trying again, zombies are reported late until then"
                self.source_changed(SourceChange(name, name, text, improvement=False))
            return
        since = self._trouble.works()
        if since is not None:
            text = (
                f"recovered after {(now_boot_ns - since) / NS:.1f} s; what happened meanwhile"
                " is reported now, no zombie is missing"
            )
            self.source_changed(SourceChange(name, name, text, improvement=True))

    def _kubernetes(self, pods: Pods, now_boot_ns: int) -> None:
        """Report an API server that cannot be reached, and that it can be reached again."""
        if not pods.up:
            if self._outage.fails(now_boot_ns):
                error = pods.last_error or "it has not answered yet"
                self._kubernetes_changed(up=False, error=error, since=self._outage.since_boot_ns)
            return
        since = self._outage.works()
        if since is not None:
            away = round((now_boot_ns - since) / NS, 3)
            self._kubernetes_changed(up=True, since=now_boot_ns, away_seconds=away)

    def _kubernetes_changed(
        self,
        *,
        up: bool,
        since: int | None,
        error: str | None = None,
        away_seconds: float | None = None,
    ) -> None:
        fields: Fields = {
            "up": up,
            "error": error,
            "since": None if since is None else rfc3339(since + boot_to_wall_ns()),
            "fallback": None if up else _FALLBACK,
            "away_seconds": away_seconds,
        }
        level = "info" if up else None
        self._emit(EventName.KUBERNETES_CHANGED, {"kubernetes": fields}, level=level)

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
