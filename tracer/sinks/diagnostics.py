"""The agent's own messages as lines of its log, instead of text on stderr.

Modules write them with the standard library's logging. A handler queues the records for
the log's writer, and structlog's formatter for such records renders them in the
writer's thread.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from tracer.clock import NS, rfc3339
from tracer.render.document import SCHEMA_VERSION, Document
from tracer.sinks.json_line import log_line

EVENT = "agent_message"
"""Value of `event` in these lines."""

_LEVELS = {"critical": "error", "notset": "debug"}
"""Levels of logging that the contract does not have."""


class QueueingHandler(logging.Handler):
    """Hands log records over without rendering them.

    Args:
        queue: takes a record and returns at once; called from any thread.
    """

    def __init__(self, queue: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._queue = queue

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record, its arguments resolved while they are as they were."""
        record.msg, record.args = record.getMessage(), None
        self._queue(record)


class DiagnosticRenderer:
    """Renders log records as lines of the contract.

    structlog is imported with the first record: its import takes 60 ms and 9 MB
    (asyncio, ssl), which an agent with nothing to report about itself does not pay.

    Args:
        node_name: of this node.
    """

    def __init__(self, node_name: str) -> None:
        self._node_name = node_name
        self._formatter: logging.Formatter | None = None

    def __call__(self, record: logging.LogRecord) -> bytes:
        """Return the line of one record, newline included."""
        if self._formatter is None:
            self._formatter = self._make_formatter()
        return self._formatter.format(record).encode() + b"\n"

    def _make_formatter(self) -> logging.Formatter:
        import structlog  # noqa: PLC0415 - see the class

        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.format_exc_info,
            ],
            processors=[
                self._document,
                structlog.processors.JSONRenderer(serializer=_serialize),
            ],
        )

    def _document(self, _logger: Any, _method: str, event: Mapping[str, Any]) -> Document:
        record: logging.LogRecord = event["_record"]
        document: Document = {
            "timestamp": rfc3339(int(record.created * NS)),
            "level": _LEVELS.get(event["level"], event["level"]),
            "event": EVENT,
            "schema_version": SCHEMA_VERSION,
            "message": event["event"],
            "otel": {"scope": {"name": event["logger"]}},
            "k8s": {"node": {"name": self._node_name}},
        }
        if "exception" in event:
            document["exception"] = {"stacktrace": event["exception"]}
        return document


def _serialize(document: Mapping[str, object], **_: object) -> str:
    return log_line(document).decode().rstrip("\n")
