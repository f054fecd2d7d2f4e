"""The log: one JSON object per line, as the contract has it.

Each pod has a budget of lines, and pods take turns before a slow reader. What is left out
is counted by namespace, and reported when the loss ends.
"""

import logging
from collections.abc import Callable, Hashable
from threading import Lock
from typing import NamedTuple

from tracer.clock import boot_ns, boot_to_wall_ns
from tracer.model.event import Event, EventName
from tracer.render.cause_id import ExplainedCauses, Explanation
from tracer.render.document import Document, event_document, explained_by, merged
from tracer.sinks.admission import Admission
from tracer.sinks.budget import LogBudget
from tracer.sinks.diagnostics import DiagnosticRenderer, QueueingHandler
from tracer.sinks.fair_queue import Place
from tracer.sinks.json_line import log_line
from tracer.sinks.left_out import Loss
from tracer.sinks.loss_line import loss_document
from tracer.sinks.owner import owner_of
from tracer.sinks.writer import LineWriter

QUEUE_BYTES = 8 << 20
"""Of memory for lines that wait for a blocked reader: some 3,000 of them."""

_EVENT_BYTES = 1500
"""Of memory for an event with its record, without the texts of its cause (measured: 1,320)."""

_LOSS_CHECK_MILLISECONDS = 1000


class _Withheld(NamedTuple):
    """An event that makes no line, in the queue to be handled in its turn."""

    event: Event


_Item = Event | _Withheld | Loss | logging.LogRecord


class JsonLogSink:
    """Writes events as JSON lines to a descriptor, from a thread of its own.

    Args:
        node_name: of this node.
        version: of the agent.
        boot_id: of this boot of the node; without it, cause.id is null, and event.id good for one.
        descriptor: where to write; 1 is stdout.
        level: `info`, `warning` or `error`: less severe events are left out.
        budget: the lines that each pod may fill; None for no limit.
        limit: bytes of memory for lines that wait.
        writing: called in the sink's thread just before an event's line is written.
        written: called in the sink's thread after an event's line is out (or left out by the
            level or the budget), for each pod in the order of the events.
        on_closed: called once, in the sink's thread, when the reader is gone.
        to_wall_ns: returns what must be added to a boot time to get Unix time.
    """

    def __init__(
        self,
        *,
        node_name: str,
        version: str,
        boot_id: str | None = None,
        descriptor: int = 1,
        level: str = "info",
        budget: LogBudget | None = None,
        limit: int = QUEUE_BYTES,
        writing: Callable[[Event], None] | None = None,
        written: Callable[[Event], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        to_wall_ns: Callable[[], int] = boot_to_wall_ns,
    ) -> None:
        self._node_name = node_name
        self._version = version
        self._boot_id = boot_id
        self._level = _severity(level)
        self._budget = budget
        self._event_writing = writing
        self._event_written = written
        self._to_wall_ns = to_wall_ns
        self._diagnostic = DiagnosticRenderer(node_name)
        self._admission = Admission(budget)
        self._ended = False
        self._counting = Lock()
        self._not_lines_dropped = 0
        self._explained = ExplainedCauses()
        self._explaining: Explanation | None = None
        self._writer: LineWriter[_Item] = LineWriter(
            descriptor,
            self._render,
            limit=limit,
            owner=_owner,
            size=_size,
            lost=self._lost,
            background=self._report_losses,
            writing=self._writing,
            written=self._written,
            on_closed=on_closed,
            name="json log",
        )

    @property
    def closed(self) -> bool:
        """Whether the reader is gone: the agent may end."""
        return self._writer.closed

    def start(self) -> None:
        """Start watching for a reader that goes away before the first line."""
        self._writer.start()

    def emit(self, event: Event) -> None:
        """Queue one event."""
        if event.name is EventName.AGENT_STOPPED:
            self._queue_losses(everything=True)
            self._ended = True
        silent = _severity(event.severity) < self._level
        admitted = not silent and self._admission.admits(event)
        self._writer.emit(event if admitted else _Withheld(event))

    def handler(self) -> logging.Handler:
        """Return a handler that makes log records lines of this log."""
        return QueueingHandler(self._writer.emit)

    def dropped(self) -> int:
        """Return how many lines were lost to a full queue or a failing descriptor."""
        events = self._writer.dropped() - self._not_lines_dropped
        return events + self._admission.follow_ups

    def close(self, timeout_seconds: float) -> None:
        """Write what is queued, for at most so long."""
        self._queue_losses(everything=True)
        self._writer.close(timeout_seconds)

    def _render(self, item: _Item) -> bytes | None:
        self._explaining = None
        match item:
            case logging.LogRecord():
                return self._diagnostic(item)
            case Loss():
                return self._loss_line(item)
            case _Withheld():
                return None
        return log_line(self._document(item))

    def _document(self, event: Event) -> Document:
        document = event_document(
            event,
            node_name=self._node_name,
            to_wall_ns=self._to_wall_ns(),
            version=self._version,
            boot_id=self._boot_id,
            explained=self._explained,
        )
        if event.name in {EventName.SUMMARY, EventName.AGENT_STOPPED}:
            left_out = self._admission.left_out.by_namespace()
            return merged(document, {"lost": {"by_namespace": left_out}})
        self._explaining = explained_by(document)
        return document

    def _loss_line(self, loss: Loss) -> bytes:
        now_ns = boot_ns() + self._to_wall_ns()
        document = loss_document(loss, self._budget, node_name=self._node_name, wall_ns=now_ns)
        return log_line(document)

    def _writing(self, item: _Item) -> None:
        if isinstance(item, Event) and self._event_writing is not None:
            self._event_writing(item)

    def _written(self, item: _Item) -> None:
        if self._explaining is not None:
            self._explained.add(self._explaining)
        event = item.event if isinstance(item, _Withheld) else item
        if isinstance(event, Event) and self._event_written is not None:
            self._event_written(event)

    def _lost(self, item: _Item) -> None:
        if isinstance(item, Event):
            self._admission.missed(item)
        elif not isinstance(item, logging.LogRecord):
            with self._counting:
                self._not_lines_dropped += 1

    def _report_losses(self) -> int | None:
        self._queue_losses()
        return _LOSS_CHECK_MILLISECONDS if self._admission.left_out.pending else None

    def _queue_losses(self, *, everything: bool = False) -> None:
        if self._ended:
            return  # nothing follows agent_stopped, which has the sums
        for loss in self._admission.left_out.due(everything=everything):
            self._writer.emit(loss)


def _owner(item: _Item) -> Hashable:
    event = item.event if isinstance(item, _Withheld) else item
    return owner_of(event) if isinstance(event, Event) else Place.FIRST


def _size(item: _Item) -> int:
    event = item.event if isinstance(item, _Withheld) else item
    if isinstance(event, logging.LogRecord):
        return _EVENT_BYTES + len(event.getMessage())
    if not isinstance(event, Event):
        return 0  # few, and one that displaced a line would not count that line
    about = event.record or event.storm
    if about is None:
        return 0 if event.name is EventName.AGENT_STOPPED else 2 * _EVENT_BYTES
    cause = about.cause
    texts = 0 if cause is None else len(cause.advice) + sum(map(len, cause.evidence))
    if event.storm is not None:
        return _EVENT_BYTES * (1 + len(event.storm.storm.samples)) + texts
    line = event.record.command_line if event.record is not None else None
    return _EVENT_BYTES + texts + len(line or "")


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
