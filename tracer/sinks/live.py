"""Writes the live view to a terminal or a pipe."""

import os
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo

from tracer.clock import boot_to_wall_ns
from tracer.model.event import Event
from tracer.render.live import MAX_COLUMNS, Frame, LiveView
from tracer.render.plain import PLAIN
from tracer.sinks.writer import LineWriter

QUEUE_LIMIT = 5_000
"""Events waiting for a terminal that was stopped with Ctrl-S."""


def wants_colour(environment: Mapping[str, str], *, terminal: bool) -> bool:
    """Return whether to use colours: on a capable terminal, unless NO_COLOR is set."""
    return (
        terminal and environment.get("TERM", "dumb") != "dumb" and not environment.get("NO_COLOR")
    )


def terminal_columns(descriptor: int) -> int | None:
    """Return the width of a terminal; None for anything else, or when it is unknown."""
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


class LiveSink:
    """Shows events as they come, in a thread of its own.

    The width of the terminal is read before each event, so that a resize (SIGWINCH)
    takes effect with the next line and needs no signal handler.

    Args:
        descriptor: where to write; 1 is stdout.
        environment: holds NO_COLOR and TERM; os.environ when None.
        zone: of the times shown; None for the local zone.
        limit: events that may wait.
        written: called, in the sink's thread, after an event is shown.
        on_closed: called once, in the sink's thread, when the reader is gone.
        to_wall_ns: returns what must be added to a boot time to get Unix time.
        encoding: of the terminal; the command line has registered what replaces the rest.
    """

    def __init__(
        self,
        *,
        descriptor: int = 1,
        environment: Mapping[str, str] | None = None,
        zone: tzinfo | None = None,
        limit: int = QUEUE_LIMIT,
        written: Callable[[Event], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        to_wall_ns: Callable[[], int] = boot_to_wall_ns,
        encoding: str = "utf-8",
    ) -> None:
        environment = os.environ if environment is None else environment
        terminal = os.isatty(descriptor)
        colour = wants_colour(environment, terminal=terminal)
        self._descriptor = descriptor
        self._to_wall_ns = to_wall_ns
        self._encoding = encoding
        self._columns = self._usable_columns()
        self._view = LiveView(
            zone=zone or datetime.now().astimezone().tzinfo,
            columns=self._columns,
            colour=colour,
            refresh=terminal and environment.get("TERM", "dumb") != "dumb",
        )
        self._writer: LineWriter[Event] = LineWriter(
            descriptor,
            self._render,
            limit=limit,
            written=written,
            on_closed=on_closed,
            name="live view",
        )

    @property
    def closed(self) -> bool:
        """Whether the reader is gone: the command may end."""
        return self._writer.closed

    def start(self) -> None:
        """Start watching for a reader that goes away before the first event."""
        self._writer.start()

    def emit(self, event: Event) -> None:
        """Queue one event."""
        self._writer.emit(event)

    def dropped(self) -> int:
        """Return how many events were not shown."""
        return self._writer.dropped()

    def close(self, timeout_seconds: float) -> None:
        """Show what is queued, for at most so long."""
        self._writer.close(timeout_seconds)

    def _usable_columns(self) -> int:
        """Return the width to use: one less than the terminal's, whose last column may wrap."""
        columns = terminal_columns(self._descriptor)
        return MAX_COLUMNS if columns is None else columns - 1

    def _render(self, event: Event) -> bytes:
        columns = self._usable_columns()
        if columns != self._columns:
            self._columns = columns
            self._view.resize(columns)
        frame = self._view.frame(event, to_wall_ns=self._to_wall_ns())
        return frame_bytes(frame, self._encoding)


def frame_bytes(frame: Frame, encoding: str = "utf-8") -> bytes:
    """Encode a frame: move up to what it replaces and clear that first."""
    up = f"\x1b[{frame.replaces}A\x1b[J" if frame.replaces else ""
    text = up + "".join(f"{line}\n" for line in frame.lines)
    return text.encode() if encoding == "utf-8" else text.encode(encoding, PLAIN)
