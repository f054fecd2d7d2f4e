"""The log: one JSON object a line, as the contract has it.

A line passes through a list of structlog processors: from the event to its document,
then to JSON, and the descriptor comes last.
"""

import json
import logging
import math
import re
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from tracer.clock import boot_to_wall_ns
from tracer.model.event import LEVELS, Event
from tracer.render.document import Document, event_document
from tracer.sinks.writer import LineWriter

Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]
"""structlog's: (logger, method name, event dict) to the next event dict, or to the line."""

QUEUE_LIMIT = 20_000
"""Lines waiting for a blocked reader: about 40 MB at most, minutes of a busy node's log."""

_UNSAFE = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""What JSON allows in a string, but a terminal must not get: C1 controls, bidirectional
and zero-width characters, tags; and lone surrogates, which UTF-8 cannot hold."""


class DocumentOf:
    """The first processor: replaces structlog's event dict by the contract's document."""

    def __init__(self, node_name: str, version: str, to_wall_ns: Callable[[], int]) -> None:
        self._node_name = node_name
        self._version = version
        self._to_wall_ns = to_wall_ns

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> Document:
        """Take the Event out of `record` and return its document."""
        return event_document(
            event["record"],
            node_name=self._node_name,
            to_wall_ns=self._to_wall_ns(),
            version=self._version,
        )


def to_json_line(_logger: Any, _method: str, document: Mapping[str, Any]) -> str:
    """Render the last processor's line: JSON on one line, safe to look at on a terminal."""
    return json_line(document)


def json_line(document: object) -> str:
    r"""Write as JSON on one line, with `\u` escapes for all that could harm a terminal.

    Infinities and NaN become null. A lone surrogate becomes the visible text `\udc80`,
    because parsers disagree on what its escape means.
    """
    try:
        text = _dumps(document)
    except ValueError:
        text = _dumps(_finite(document))
    return text if text.isascii() else _UNSAFE.sub(_escaped, text)


def _dumps(document: object) -> str:
    return json.dumps(
        document, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str
    )


def _finite(value: object) -> object:
    """Replace infinities and NaN, which JSON has not, by null."""
    if isinstance(value, Mapping):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xD800 <= code <= 0xDFFF:
        return f"\\\\u{code:04x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


class JsonLogSink:
    """Writes events as JSON lines to a descriptor, from a thread of its own.

    Args:
        node_name: of this node.
        version: of the agent.
        descriptor: where to; 1 is stdout.
        level: `info`, `warning` or `error`: less severe lines are left out.
        limit: lines that may wait.
        written: called, in the sink's thread, after a line is out (or left out by the
            level), in the order of the lines.
        on_closed: called once, in the sink's thread, when the reader is gone.
        to_wall_ns: tells what makes a boot time a Unix time.
        processors: instead of the default list.
    """

    def __init__(
        self,
        *,
        node_name: str,
        version: str,
        descriptor: int = 1,
        level: str = "info",
        limit: int = QUEUE_LIMIT,
        written: Callable[[Event], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        to_wall_ns: Callable[[], int] = boot_to_wall_ns,
        processors: list[Processor] | None = None,
    ) -> None:
        self._processors = processors or [
            DocumentOf(node_name, version, to_wall_ns),
            to_json_line,
        ]
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._logger: Any = None
        self._caught = _Caught()
        self._writer = LineWriter(
            descriptor,
            self._render,
            limit=limit,
            written=written,
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

    def dropped(self) -> int:
        """Return how many lines were lost to a full queue or a failing descriptor."""
        return self._writer.dropped()

    def close(self, timeout_seconds: float) -> None:
        """Write what is queued, for at most so long."""
        self._writer.close(timeout_seconds)

    def _render(self, event: Event) -> bytes | None:
        if self._logger is None:
            self._logger = self._make_logger()
        self._caught.line = None
        level = logging.getLevelNamesMapping()[LEVELS[event.name].upper()]
        self._logger.log(level, event.name.value, record=event)
        line = self._caught.line
        return None if line is None else line.encode() + b"\n"

    def _make_logger(self) -> Any:
        """Build the pipeline, in the sink's thread.

        structlog is imported here because its import takes 0.1 s and 12 MB (asyncio,
        ssl), which must not stand between the start and the first detection.
        """
        import structlog  # noqa: PLC0415

        return structlog.wrap_logger(
            self._caught,
            processors=self._processors,
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            context_class=dict,
            cache_logger_on_first_use=True,
        )


class _Caught:
    """The logger at the end of the list: keeps the finished line for the writer."""

    line: str | None = None

    def msg(self, line: str) -> None:
        self.line = line

    debug = info = warning = error = critical = msg
