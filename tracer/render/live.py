"""The live view: events as aligned lines of under 100 columns for a person in an incident.

An event is one line: time, what happened, age, zombie, parent, number of zombies, pod.
The cause with its advice follows on a line of its own, unless the cause shown last is
the same one of the same parent.
"""

import textwrap
from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import NamedTuple

from tracer.clock import NS
from tracer.durations import short_duration
from tracer.model import Attribution, Cause, Identity, Process, Record, Storm, StormPhase
from tracer.model.event import Event, EventName, StormContext
from tracer.render.notices import notice
from tracer.render.text import cut, cut_middle, escape_untrusted, fit, pad, width
from tracer.render.words import exit_text, owner_text

MAX_COLUMNS = 99
MIN_COLUMNS = 60
"""A narrower terminal wraps lines: cutting PIDs and names to nothing would help less."""
_ADVICE_LINES = 2
"""Longer advice is cut; `tracer explain PID` shows all of it."""
_TIME, _WHAT, _AGE, _COUNT = 8, 6, 7, 6
_FIXED = _TIME + _WHAT + _AGE + _COUNT + 6  # six single spaces between seven columns

RESET, BOLD, DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_COLOURS = {
    "zombie": "\x1b[33m",
    "aged": "\x1b[1;33m",
    "reaped": "\x1b[32m",
    "STORM": "\x1b[1;31m",
    "PIDS": "\x1b[1;31m",
    "SOURCE": "\x1b[1;35m",
    "ended": "\x1b[32m",
    "clear": "\x1b[32m",
}
_OVER = {StormPhase.ENDED: "ended", StormPhase.DRAINED: "clear"}
_WORDS = {
    EventName.ZOMBIE_DETECTED: "zombie",
    EventName.ZOMBIE_AGED: "aged",
    EventName.ZOMBIE_REAPED: "reaped",
    EventName.PIDS_PRESSURE: "PIDS",
    EventName.SOURCE_CHANGED: "SOURCE",
    EventName.SUMMARY: "status",
    EventName.AGENT_STARTED: "start",
    EventName.AGENT_STOPPED: "stop",
}


class Frame(NamedTuple):
    """Lines to write.

    Attributes:
        lines: without newlines; names in them are escaped.
        replaces: how many of the newest lines on the screen they replace.
    """

    lines: tuple[str, ...]
    replaces: int = 0


class LiveView:
    """Turns events into frames; remembers only what is on the screen.

    Args:
        zone: of the times shown.
        columns: width of the terminal; at most 99 are used.
        colour: use colours.
        refresh: a storm's newest line replaces the one before.
    """

    def __init__(
        self,
        *,
        zone: tzinfo | None,
        columns: int = MAX_COLUMNS,
        colour: bool = False,
        refresh: bool = False,
    ) -> None:
        self._zone = zone
        self._colour = colour
        self._refresh = refresh
        self._headed = False
        self._cause: tuple[int, str] | None = None
        self._storm: tuple[Identity, int] | None = None
        self.resize(columns)

    def resize(self, columns: int) -> None:
        """Set a new width. Older lines may have been wrapped by it, so none of them is replaced."""
        self._columns = min(MAX_COLUMNS, max(MIN_COLUMNS, columns))
        free = self._columns - _FIXED
        self._who = min(17, max(8, free // 4))
        self._where = free - 2 * self._who
        self._headed = False
        self._storm = None

    def frame(self, event: Event, *, to_wall_ns: int) -> Frame:
        """Return the lines of one event."""
        lines, replaces = list(self._lines(event, to_wall_ns)), 0
        storm = event.storm.storm if event.storm is not None else None
        if storm is not None and self._refresh:
            if self._storm is not None and self._storm[0] == storm.parent:
                replaces = self._storm[1]
            over = storm.phase in _OVER
            self._storm = None if over else (storm.parent, len(lines))
        else:
            self._storm = None
        # Not a part of the storm's frame: it stays when the frame is replaced.
        early = not lines or event.name is EventName.AGENT_STARTED
        heading = [] if self._headed or early else [self._heading()]
        self._headed = self._headed or bool(heading)
        return Frame((*heading, *lines), replaces)

    def _lines(self, event: Event, to_wall_ns: int) -> Iterator[str]:
        if event.record is not None:
            yield self._zombie(event, event.record, to_wall_ns)
            if event.name is not EventName.ZOMBIE_REAPED:
                yield from self._why(event.record.zombie.child.parent_pid, event.record.cause)
        elif event.storm is not None:
            if self._refresh:
                self._cause = None
            yield self._storm_row(event, event.storm, to_wall_ns)
            yield from self._why(event.storm.storm.parent.pid, event.storm.cause)
        elif event.name is not EventName.AGENT_STOPPED or event.severity != "error":
            # Why the command failed goes to stderr, where it is not cut.
            what = _WORDS[event.name]
            head = f"{self._time(event, to_wall_ns)} {self._coloured(what, pad(what, _WHAT))} "
            room = self._columns - _TIME - _WHAT - 2
            yield head + cut(escape_untrusted(notice(event)), room)

    def _zombie(self, event: Event, record: Record, to_wall_ns: int) -> str:
        child = record.zombie.child
        reaped = event.name is EventName.ZOMBIE_REAPED and record.lifetime_ns is not None
        age = short_duration(record.lifetime_ns if reaped else record.age_ns)
        return self._row(
            time=self._time(event, to_wall_ns),
            what=_WORDS[event.name],
            age=age if child.exit_boot_ns is not None else f">{age}",
            dead=f"{child.identity.pid} {child.comm or ''} {_death(child.exit_status)}",
            parent=_parent(child.parent_pid, record.parent),
            count=str(record.zombie.siblings + 1),
            owner=record.attribution,
        )

    def _storm_row(self, event: Event, context: StormContext, to_wall_ns: int) -> str:
        storm = context.storm
        return self._row(
            time=self._time(event, to_wall_ns),
            what=_OVER.get(storm.phase, "STORM"),
            age=short_duration(storm.oldest_age_ns),
            dead=_arrivals(storm),
            parent=_parent(storm.parent.pid, context.parent, gone=context.parent_gone),
            count=str(storm.zombies),
            owner=context.attribution,
        )

    def _row(
        self,
        *,
        time: str,
        what: str,
        age: str,
        dead: str,
        parent: str,
        count: str,
        owner: Attribution,
    ) -> str:
        cells = (
            time,
            self._coloured(what, pad(what, _WHAT)),
            fit(age, _AGE, right=True),
            fit(escape_untrusted(dead.strip()), self._who),
            fit(escape_untrusted(parent), self._who),
            fit(count, _COUNT, right=True),
            where_text(owner, self._where),
        )
        return " ".join(cells).rstrip()

    def _why(self, parent_pid: int, cause: Cause | None) -> Iterator[str]:
        """Yield the cause's lines, unless the last lines shown have it already."""
        if cause is None or self._cause == (parent_pid, cause.code.value):
            return
        self._cause = (parent_pid, cause.code.value)
        label = f"{cause.code.value} ({cause.confidence.value}):"
        advice = escape_untrusted(" ".join(cause.advice.split()))
        indent = " " * (_TIME + 1)
        lines = textwrap.wrap(
            f"{label} {advice}",
            width=self._columns - len(indent) - 2,
            max_lines=_ADVICE_LINES,
            placeholder=" …",
            break_on_hyphens=False,
        )
        # wrap() counts characters, not columns.
        lines = [cut(line, self._columns - len(indent) - 2) for line in lines]
        first = self._styled(BOLD, label) + lines[0].removeprefix(label)
        yield f"{indent}↳ {first}"
        yield from (f"{indent}  {line}" for line in lines[1:])

    def _heading(self) -> str:
        names = ("TIME", "WHAT", "AGE", "ZOMBIE", "PARENT", "COUNT", "POD OR UNIT")
        widths = (_TIME, _WHAT, _AGE, self._who, self._who, _COUNT, self._where)
        cells = (
            fit(name, width, right=name in {"AGE", "COUNT"})
            for name, width in zip(names, widths, strict=True)
        )
        return self._styled(DIM, " ".join(cells).rstrip())

    def _time(self, event: Event, to_wall_ns: int) -> str:
        seconds = (event.at_boot_ns + to_wall_ns) // NS
        return self._styled(DIM, f"{datetime.fromtimestamp(seconds, tz=self._zone):%H:%M:%S}")

    def _coloured(self, what: str, text: str) -> str:
        return self._styled(_COLOURS.get(what, DIM), text)

    def _styled(self, style: str, text: str) -> str:
        return f"{style}{text}{RESET}" if self._colour else text


def _parent(pid: int, parent: Process | None, *, gone: bool = False) -> str:
    words = (str(pid or "-"), "(gone)" if gone else "", parent.comm if parent is not None else "")
    return " ".join(word for word in words if word)


def _arrivals(storm: Storm) -> str:
    """Return how many arrive; once it is over, how many did, or how many were adopted."""
    if storm.phase is StormPhase.DRAINED and storm.adopted:
        return f"{storm.adopted} adopted"
    if storm.phase in _OVER:
        return f"{storm.detected} total"
    return f"+{storm.rate_per_second:.0f}/s"


def _death(status: int | None) -> str:
    """Return how it ended, in parentheses; empty for an exit with 0, which needs no words."""
    text = exit_text(status)
    return "" if text in {"0", "-"} else f"({text})"


def where_text(owner: Attribution, columns: int) -> str:
    """Return pod or unit in so many columns: cut the container first, then the middle."""
    full = escape_untrusted(owner_text(owner))
    if width(full) <= columns or owner.workload is None:
        return cut_middle(full, columns)
    return cut_middle(escape_untrusted(f"{owner.workload.namespace}/{owner.workload.pod}"), columns)
