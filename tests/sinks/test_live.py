"""The live view: aligned, under 100 columns, names escaped, and right on a real terminal."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import records as made
from support.golden import check_golden
from support.zombies import wait_until

from tracer.model import Attribution, StormPhase
from tracer.model.event import EventName
from tracer.render.live import LiveView
from tracer.render.text import escape_untrusted, width
from tracer.sinks.live import LiveSink, frame_bytes, wants_colour

EVIL = "\x1b[2J\u202eevil\n"


def incident():
    """An incident from start to end, with everything the view can be given."""
    host = made.record(
        made.child(4242, 4000, exit_status=9, comm=EVIL, exit_boot_ns=None),
        attribution=made.HOST,
        parent=made.process(4000, comm="cron", vpid=4000),
    )
    orphan = made.record(
        made.child(77, 1), parent=None, attribution=Attribution(), cause=None, waits=None
    )
    started, changed, pressure, summary, stopped = made.other_events()
    return [
        started,
        made.event(),
        made.event(of=made.record(made.child(1_296_040))),
        made.event(of=host),
        made.event(EventName.ZOMBIE_AGED),
        made.event(of=orphan),
        made.event(EventName.ZOMBIE_REAPED, made.record(lifetime_ns=99_000_000_000)),
        made.storm(StormPhase.BEGAN),
        made.storm(),
        made.storm(zombies=400_000),
        made.storm(StormPhase.ENDED),
        made.storm(StormPhase.DRAINED, zombies=0, oldest_age_ns=None),
        changed,
        pressure,
        summary,
        stopped,
    ]


def shown(**options):
    view = LiveView(zone=UTC, **options)
    frames = [view.frame(event, to_wall_ns=made.TO_WALL_NS) for event in incident()]
    return b"".join(map(frame_bytes, frames)).decode()


@pytest.mark.parametrize("columns", [99, 79, 60])
def test_golden(columns):
    text = shown(columns=columns)
    check_golden(f"live-{columns}.txt", text)
    assert max(map(width, text.splitlines())) <= columns


def test_golden_in_colour_with_refresh():
    text = shown(colour=True, refresh=True)
    check_golden("live-colour.txt", text.replace("\x1b", "ESC"))
    assert "ESC" not in text


def test_colour_changes_nothing_but_colour():
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown(colour=True)) == shown()


@given(st.text(st.characters(codec=None), max_size=150), st.integers(1, 300))
def test_whatever_a_tenant_writes_every_line_is_escaped_and_fits(name, columns):
    workload = replace(made.POD.workload, pod=name, namespace=name, container=name)
    cause = replace(made.NEVER, advice=name)
    evil = made.record(
        made.child(comm=name),
        parent=made.process(comm=name),
        attribution=replace(made.POD, workload=workload),
        cause=cause,
    )
    view = LiveView(zone=UTC, columns=columns)
    for event in (made.event(of=evil), replace(incident()[-2], fields={name: {"a": name}})):
        for line in view.frame(event, to_wall_ns=made.TO_WALL_NS).lines:
            assert escape_untrusted(line) == line
            assert width(line) <= max(60, min(99, columns))


def test_a_storm_is_one_place_on_the_screen():
    view = LiveView(zone=UTC, refresh=True)
    began, ongoing, again, other, after, _ = (
        view.frame(event, to_wall_ns=made.TO_WALL_NS)
        for event in (
            made.storm(StormPhase.BEGAN),
            made.storm(),
            made.storm(),
            made.event(),
            made.storm(),
            made.event(),
        )
    )
    # The heading above the first one stays.
    assert ongoing.replaces == len(began.lines) - 1 == len(ongoing.lines) == again.replaces
    assert other.replaces == after.replaces == 0


@pytest.mark.parametrize(
    ("environment", "terminal", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
    ],
)
def test_colours_only_where_they_are_wanted(environment, terminal, colour):
    assert wants_colour(environment, terminal=terminal) is colour


def resize(descriptor, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


class Terminal:
    """A pseudo-terminal with a LiveSink writing to it."""

    def __init__(self, **environment):
        self.master, self.slave = pty.openpty()
        os.set_blocking(self.master, False)
        resize(self.slave, 120)
        self.sink = LiveSink(
            descriptor=self.slave,
            environment=environment,
            zone=UTC,
            to_wall_ns=lambda: made.TO_WALL_NS,
        )
        self.text = ""

    def read(self):
        with contextlib.suppress(BlockingIOError):
            self.text += os.read(self.master, 1 << 16).decode()
        return self.text

    def show(self, event, marker):
        """Show an event; return what the terminal got, once the marker is there."""
        self.text = ""
        self.sink.emit(event)
        wait_until(lambda: marker in self.read() and self.text.endswith("\n"))
        return self.text

    def close(self):
        self.sink.close(5)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    made_terminals = []

    def make(**environment):
        made_terminals.append(Terminal(**environment))
        return made_terminals[-1]

    yield make
    for each in made_terminals:
        each.close()


def test_on_a_terminal_it_is_coloured_and_follows_a_resize(terminal):
    screen = terminal(TERM="xterm-256color")
    wide = screen.show(made.event(), "tini")
    assert "\x1b[33mzombie" in wide
    resize(screen.slave, 70)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.show(made.storm(), "STORM"))
    assert "TIME" in plain
    assert max(map(width, plain.split("\r\n"))) <= 69


def test_no_color_and_a_dumb_terminal_get_plain_text(terminal):
    for environment in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in terminal(**environment).show(made.event(), "tini")


def test_a_storm_on_a_terminal_is_refreshed_in_place(terminal):
    screen = terminal(TERM="xterm")
    screen.show(made.storm(StormPhase.BEGAN), "STORM")
    assert screen.show(made.storm(zombies=7), "STORM").startswith("\x1b[3A\x1b[J")


def test_in_a_pipe_it_is_plain_and_ends_quietly():
    out, into = os.pipe()
    sink = LiveSink(descriptor=into, environment={"TERM": "xterm"}, zone=UTC)
    sink.emit(made.storm())
    wait_until(lambda: b"STORM" in os.read(out, 1 << 16))
    os.close(out)
    wait_until(lambda: sink.closed)
    sink.close(1)
    os.close(into)
