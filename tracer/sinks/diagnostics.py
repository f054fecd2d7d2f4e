"""The agent's own messages as lines of its log, instead of text on stderr.

Modules write them with the standard library's logging. A handler queues the records for
the log's writer, and structlog's formatter for such records renders them in the
writer's thread. What Python itself would print to stderr becomes such a message, too.
"""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tracer.clock import NS, rfc3339
from tracer.render.document import SCHEMA_VERSION, Document
from tracer.sinks.json_line import log_line

if TYPE_CHECKING:
    from types import TracebackType

EVENT = "agent_message"
"""Value of `event` in these lines."""

_LEVELS = {"critical": "error", "notset": "debug"}
"""Levels of logging that the contract does not have."""

_EARLY_RECORDS = 1000
_log = logging.getLogger(__name__)


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
        try:
            text = record.getMessage()
        except Exception as error:  # noqa: BLE001 - logging would print a traceback to stderr
            text = f"{record.msg} (its arguments do not fit: {error})"
        record.msg, record.args = text, None
        self._queue(record)


class EarlyHandler(QueueingHandler):
    """Keeps the messages from before there is a log.

    Attributes:
        records: the first _EARLY_RECORDS of them.
    """

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        super().__init__(self._keep)

    def _keep(self, record: logging.LogRecord) -> None:
        if len(self.records) < _EARLY_RECORDS:
            self.records.append(record)

    def hand_over(self, handler: logging.Handler) -> None:
        """Give all records to the log's handler, and keep none."""
        records, self.records = self.records, []
        for record in records:
            handler.handle(record)

    def write_out(self, node_name: str, descriptor: int = 1) -> None:
        """Write all records as lines while there is no log yet: its start takes longer."""
        render = DiagnosticRenderer(node_name)
        records, self.records = self.records, []
        for record in records:
            os.write(descriptor, render(record))


def message_document(
    *, timestamp: str, level: str, message: str, scope: str, node_name: str
) -> Document:
    """Return a line of the agent about itself.

    Args:
        timestamp: RFC 3339.
        level: of the contract.
        message: what failed or changed, and what to do.
        scope: the part of the program that says so.
        node_name: of this node.
    """
    return {
        "timestamp": timestamp,
        "level": level,
        "event": EVENT,
        "schema_version": SCHEMA_VERSION,
        "message": message,
        "otel": {"scope": {"name": scope}},
        "k8s": {"node": {"name": node_name}},
    }


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
        try:
            if self._formatter is None:
                self._formatter = self._make_formatter()
        except (ImportError, OSError, MemoryError):
            # Without files or memory (EMFILE) its modules cannot be read: that must not
            # keep back the message that says so.
            return log_line(self._document(record))
        return self._formatter.format(record).encode() + b"\n"

    def _make_formatter(self) -> logging.Formatter:
        import structlog  # noqa: PLC0415 - see the class

        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.format_exc_info],
            processors=[
                self._from_structlog,
                structlog.processors.JSONRenderer(serializer=_serialize),
            ],
        )

    def _from_structlog(self, _logger: Any, _method: str, event: Mapping[str, Any]) -> Document:
        document = self._document(event["_record"])
        if "exception" in event:
            document["exception"] = {"stacktrace": event["exception"]}
        return document

    def _document(self, record: logging.LogRecord) -> Document:
        level = record.levelname.lower()
        return message_document(
            timestamp=rfc3339(int(record.created * NS)),
            level=_LEVELS.get(level, level),
            message=record.getMessage() or "(empty message)",
            scope=record.name,
            node_name=self._node_name,
        )


def _serialize(document: Mapping[str, object], **_: object) -> str:
    return log_line(document).decode().rstrip("\n")


def log_what_python_prints() -> None:
    """Let warnings and exceptions that nothing catches become messages, not text on stderr."""
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    warnings.showwarning = _warning
    sys.excepthook = _uncaught
    sys.unraisablehook = _unraisable
    threading.excepthook = _ended_thread


def _warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    logging.getLogger("py.warnings").warning("%s: %s", category.__name__, message)


def _uncaught(
    kind: type[BaseException], error: BaseException, trace: "TracebackType | None"
) -> None:
    _log.error("internal error; please file a bug with this line", exc_info=(kind, error, trace))


def _unraisable(failed: "sys.UnraisableHookArgs") -> None:
    error = failed.exc_value or failed.exc_type()
    what = failed.err_msg or "Exception ignored in"
    _log.error(
        "%s %r; please file a bug with this line",
        what,
        failed.object,
        exc_info=(failed.exc_type, error, failed.exc_traceback),
    )


def _ended_thread(failed: threading.ExceptHookArgs) -> None:
    name = "a thread" if failed.thread is None else f"thread {failed.thread.name}"
    error = failed.exc_value or failed.exc_type()
    _log.error(
        "%s has ended with an internal error; please file a bug with this line",
        name,
        exc_info=(failed.exc_type, error, failed.exc_traceback),
    )
