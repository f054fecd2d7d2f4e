"""The agent's own messages: lines of its log like all others, and never text on stderr."""

import logging
import os
import subprocess
import sys

import pytest
from support import records as made
from support.agent import agent
from support.schema import parse_lines
from support.zombies import wait_until

from tracer.sinks.jsonlog import JsonLogSink


@pytest.fixture
def logged():
    """Give a function that logs through a sink's handler and returns the lines."""

    def run(write, level=logging.INFO):
        out, into = os.pipe()
        sink = JsonLogSink(
            node_name=made.NODE,
            version="0.1.0",
            descriptor=into,
            to_wall_ns=lambda: made.TO_WALL_NS,
        )
        logger = logging.getLogger("tracer.kubernetes.watch")
        handler, before = sink.handler(), logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
        try:
            write(logger, sink)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)
        sink.close(10)
        os.close(into)
        with os.fdopen(out, "rb") as reader:
            return parse_lines(reader.read())

    return run


def test_a_warning_is_a_line_of_the_contract(logged):
    [line] = logged(lambda log, _: log.warning("the API server of %s\ndoes not answer", "here"))
    timestamp = line.pop("timestamp")
    assert timestamp.endswith("Z")
    assert line == {
        "level": "warning",
        "event": "agent_message",
        "schema_version": 1,
        "message": "the API server of here\ndoes not answer",
        "otel": {"scope": {"name": "tracer.kubernetes.watch"}},
        "k8s": {"node": {"name": made.NODE}},
    }


def test_messages_and_events_keep_their_order(logged):
    def write(log, sink):
        log.warning("one")
        sink.emit(made.event())
        log.critical("two")

    lines = logged(write)
    names = [line["event"] for line in lines]
    assert names == ["agent_message", "zombie_detected", "agent_message"]
    assert [line["level"] for line in lines] == ["warning", "warning", "error"]


def test_a_record_that_cannot_be_rendered_is_a_line_too():
    """The descriptor works, so there is no need for stderr."""
    out, into = os.pipe()
    sink = JsonLogSink(node_name=made.NODE, version="0.1.0", descriptor=into)
    handler = sink.handler()
    logging.getLogger("tracer.sinks").addHandler(handler)
    try:
        sink.emit(made.event(of=made.record(made.child(exit_status="text"))))
        wait_until(sink.dropped)
        sink.close(10)
    finally:
        logging.getLogger("tracer.sinks").removeHandler(handler)
    os.close(into)
    with os.fdopen(out, "rb") as reader:
        [line] = parse_lines(reader.read())
    assert line["level"] == "error"
    assert "TypeError" in line["message"]


def test_what_is_below_the_level_is_left_out(logged):
    assert logged(lambda log, _: log.debug("x")) == []
    assert logged(lambda log, _: log.debug("x"), logging.DEBUG)[0]["level"] == "debug"


def test_an_exception_goes_with_its_message(logged):
    def write(log, _):
        try:
            int("bad")
        except ValueError:
            log.exception("it failed")

    [line] = logged(write)
    assert line["message"] == "it failed"
    assert line["exception"]["stacktrace"].endswith("'bad'")


def test_arguments_are_resolved_when_the_message_is_written(logged):
    def write(log, _):
        names = ["a"]
        log.warning("pods: %s", names)
        names.append("b")

    assert logged(write)[0]["message"] == "pods: ['a']"


def test_an_agent_writes_its_warnings_to_its_log(tmp_path):
    """The contract: nothing but lines on stdout, and nothing at all on stderr."""
    occupied = tmp_path / "file"
    occupied.write_text("")
    options = ("--source", "proc", "--no-kubernetes", "--state-dir", occupied / "state")
    with agent(*options) as running:
        message = running.line("agent_message")
        assert running.stop() == 0
    assert message["level"] == "warning"
    assert str(occupied) in message["message"]
    assert running.errors == ""


UNUSED = """
import os, sys
from support import records as made
from tracer.sinks.jsonlog import JsonLogSink
log = JsonLogSink(node_name="n", version="0.1.0", to_wall_ns=lambda: made.TO_WALL_NS)
for _ in range(10):
    log.emit(made.event())
log.close(10)
sys.exit("structlog" in sys.modules)
"""


def test_an_agent_without_messages_does_not_import_structlog():
    """Its import costs a tenth of a second and 9 MB, which most agents never need."""
    done = subprocess.run(
        [sys.executable, "-c", UNUSED],
        check=False,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(parse_lines(done.stdout)) == 10
