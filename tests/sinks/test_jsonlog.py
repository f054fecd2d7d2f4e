"""The JSON log: every line whole and valid, and no reader can delay the agent."""

import os
import socket
import threading
import time
from dataclasses import replace

import pytest
from support import records as made
from support.schema import parse_line, parse_lines
from support.zombies import wait_until

from tracer.model.event import Event, EventName
from tracer.sinks.jsonlog import JsonLogSink


def sink(descriptor, **options):
    return JsonLogSink(
        node_name=made.NODE,
        version="0.1.0",
        descriptor=descriptor,
        to_wall_ns=lambda: made.TO_WALL_NS,
        **options,
    )


@pytest.fixture
def pipe():
    """Give (read end, write end) of a pipe; either may be closed by the test."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        if end is not None:
            os.close(end)


def close_end(pipe, which):
    os.close(pipe[which])
    pipe[which] = None


def everything(descriptor):
    data = b""
    while chunk := os.read(descriptor, 1 << 16):
        data += chunk
    return data


def of(lines, event):
    return [line for line in lines if line["event"] == event]


def test_every_event_is_a_valid_line(pipe):
    events = [made.event(), made.storm(), *made.other_events()]
    log = sink(pipe[1])
    for event in events:
        log.emit(event)
    log.close(10)
    close_end(pipe, 1)
    lines = parse_lines(everything(pipe[0]))
    assert [line["event"] for line in lines] == [event.name for event in events]
    assert list(lines[0])[:4] == ["timestamp", "level", "event", "schema_version"]
    assert log.dropped() == 0


def test_a_line_is_one_write():
    """A datagram socket keeps apart what write(2) was given at once."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        log = sink(ours.fileno())
        for _ in range(3):
            log.emit(made.event())
        log.close(10)
        for _ in range(3):
            assert parse_line(theirs.recv(1 << 16))["event"] == "zombie_detected"


def test_a_blocked_reader_does_not_delay_and_drops_are_counted(pipe):
    log = sink(pipe[1], limit=100_000)
    began = time.monotonic()
    for _ in range(2000):
        log.emit(made.event())
    assert time.monotonic() - began < 5
    wait_until(lambda: log.dropped() > 0)
    reader = threading.Thread(target=lambda: received.append(everything(pipe[0])))
    received = []
    reader.start()
    log.close(20)
    close_end(pipe, 1)
    reader.join()
    detected = of(parse_lines(received[0]), "zombie_detected")
    assert 50 <= len(detected) < 200
    assert len(detected) + log.dropped() == 2000


def test_closing_does_not_wait_for_a_reader_that_never_comes(pipe):
    log = sink(pipe[1])
    for _ in range(200):
        log.emit(made.event())
    began = time.monotonic()
    log.close(0.3)
    assert time.monotonic() - began < 3
    assert 0 < log.dropped() < 200


def test_a_reader_that_goes_away_is_noticed_without_a_line(pipe):
    gone = threading.Event()
    log = sink(pipe[1], on_closed=gone.set)
    log.start()
    assert not gone.wait(0.05)
    close_end(pipe, 0)
    assert gone.wait(10)
    assert log.closed
    log.emit(made.event())
    log.close(1)


def test_a_reader_that_goes_away_amid_lines_is_noticed_once(pipe):
    calls = []
    log = sink(pipe[1], on_closed=lambda: calls.append(1))
    log.emit(made.event())
    parse_line(os.read(pipe[0], 1 << 16))
    close_end(pipe, 0)
    for _ in range(5):
        log.emit(made.event())
    wait_until(lambda: log.closed)
    log.close(5)
    assert calls == [1]


def test_a_full_disk_is_counted_and_outlived(capfd):
    full = os.open("/dev/full", os.O_WRONLY)
    log = sink(full)
    for _ in range(3):
        log.emit(made.event())
    log.close(10)
    os.close(full)
    assert log.dropped() == 3
    assert not log.closed
    assert capfd.readouterr().err.count("No space left") == 1


def test_a_descriptor_that_somebody_made_non_blocking_gets_every_line(pipe):
    os.set_blocking(pipe[1], False)
    log = sink(pipe[1])
    for _ in range(200):
        log.emit(made.event())
    received = []
    reader = threading.Thread(target=lambda: received.append(everything(pipe[0])))
    reader.start()
    log.close(20)
    close_end(pipe, 1)
    reader.join()
    assert len(parse_lines(received[0])) == 200


def test_written_is_called_in_order_and_after_the_line(pipe):
    reported = []
    log = sink(pipe[1], level="warning", written=reported.append)
    events = [made.event(), made.other_events()[0], made.storm()]
    for event in events:
        log.emit(event)
    log.close(10)
    close_end(pipe, 1)
    assert reported == events
    assert [line["event"] for line in parse_lines(everything(pipe[0]))] == [
        "zombie_detected",
        "zombie_storm",
    ]


def test_one_bad_record_does_not_end_the_log(pipe, caplog):
    log = sink(pipe[1])
    log.emit(Event(EventName.SUMMARY, made.NOW, fields={"zombies": {}, "lost": {}, 7: {1: {}}}))
    log.emit(replace(made.event(), record=made.record(made.child(exit_status="text"))))
    log.emit(made.event())
    log.close(10)
    close_end(pipe, 1)
    assert everything(pipe[0]).splitlines()[-1].startswith(b'{"timestamp"')
    assert log.dropped() == 1
    assert "TypeError" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("\x7f", "\x7f"),
        ("a\nb\x1b[2J", "a\nb\x1b[2J"),
        ("\x9b31m\x7f", "\x9b31m\x7f"),
        ("\u202etxt\u200b", "\u202etxt\u200b"),
        ("\U000e0041", "\U000e0041"),
        ("größe 日本 🧟", "größe 日本 🧟"),
        ("\udc80", "\\udc80"),
        ('"\\', '"\\'),
    ],
)
def test_names_reach_the_log_exactly_and_a_terminal_safely(pipe, name, value):
    log = sink(pipe[1])
    log.emit(made.event(of=made.record(made.child(comm=name))))
    log.close(10)
    raw = os.read(pipe[0], 1 << 16)
    assert parse_line(raw)["process"]["executable"]["name"] == value
    assert not set(raw.decode()[:-1]) & set("\n\x1b\x7f\x9b\u202e\u200b\U000e0041")
