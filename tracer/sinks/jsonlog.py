"""The log: one JSON object per line, as the contract has it."""

import logging
from collections.abc import Callable

from tracer.clock import boot_to_wall_ns
from tracer.model.event import Event
from tracer.render.document import event_document
from tracer.sinks.diagnostics import DiagnosticRenderer, QueueingHandler
from tracer.sinks.json_line import log_line
from tracer.sinks.writer import LineWriter

QUEUE_LIMIT = 20_000
"""Lines waiting for a blocked reader: about 40 MB at most, minutes of a busy node's log."""


class JsonLogSink:
    """Writes events as JSON lines to a descriptor, from a thread of its own.

    Args:
        node_name: of this node.
        version: of the agent.
        descriptor: where to write; 1 is stdout.
        level: `info`, `warning` or `error`: less severe events are left out.
        limit: lines that may wait.
        writing: called in the sink's thread just before an event's line is written.
        written: called in the sink's thread after an event's line is out (or left out
            by the level), in the order of the lines.
        on_closed: called once, in the sink's thread, when the reader is gone.
        to_wall_ns: returns what must be added to a boot time to get Unix time.
    """

    def __init__(
        self,
        *,
        node_name: str,
        version: str,
        descriptor: int = 1,
        level: str = "info",
        limit: int = QUEUE_LIMIT,
        writing: Callable[[Event], None] | None = None,
        written: Callable[[Event], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        to_wall_ns: Callable[[], int] = boot_to_wall_ns,
    ) -> None:
        self._node_name = node_name
        self._version = version
        self._level = _severity(level)
        self._event_writing = writing
        self._event_written = written
        self._to_wall_ns = to_wall_ns
        self._diagnostic = DiagnosticRenderer(node_name)
        self._writer: LineWriter[Event | logging.LogRecord] = LineWriter(
            descriptor,
            self._render,
            limit=limit,
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
        self._writer.emit(event)

    def handler(self) -> logging.Handler:
        """Return a handler that makes log records lines of this log."""
        return QueueingHandler(self._writer.emit)

    def dropped(self) -> int:
        """Return how many lines were lost to a full queue or a failing descriptor."""
        return self._writer.dropped()

    def close(self, timeout_seconds: float) -> None:
        """Write what is queued, for at most so long."""
        self._writer.close(timeout_seconds)

    def _render(self, item: Event | logging.LogRecord) -> bytes | None:
        if isinstance(item, logging.LogRecord):
            return self._diagnostic(item)
        if _severity(item.severity) < self._level:
            return None
        document = event_document(
            item,
            node_name=self._node_name,
            to_wall_ns=self._to_wall_ns(),
            version=self._version,
        )
        return log_line(document)

    def _writing(self, item: Event | logging.LogRecord) -> None:
        if isinstance(item, Event) and self._event_writing is not None:
            self._event_writing(item)

    def _written(self, item: Event | logging.LogRecord) -> None:
        if isinstance(item, Event) and self._event_written is not None:
            self._event_written(item)


def _severity(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
