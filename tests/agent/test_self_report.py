"""What the agent says when something fails for a while: each trouble once, and not too often."""

import pytest
from support.records import child
from support.sources import ScriptedSource

from tracer.agent.self_report import SelfReport
from tracer.agent.supervisor import SourceChange, Supervisor
from tracer.clock import NS, boot_to_wall_ns, rfc3339
from tracer.model import Detected, Gone, Zombie
from tracer.model.status import StatusBoard
from tracer.table.table import Table

RECOVERED = "recovered after 5.0 s; what happened meanwhile is reported now, no zombie is missing"


class Sink:
    def __init__(self):
        self.said = []

    def emit(self, event):
        about = event.fields.get("kubernetes") or event.fields["source"]["reason"]
        self.said.append((event.severity, about))

    def dropped(self):
        return 0


@pytest.fixture
def sink():
    return Sink()


class Pods:
    up = False
    last_error = None


@pytest.fixture
def pods():
    return Pods()


class Reporter:
    def records(self):
        return ()


@pytest.fixture
def own(sink, pods):
    sources = Supervisor("core", {"core": lambda: ScriptedSource("core", clock=lambda: 0)})
    sources.start()
    return SelfReport(
        sources=sources,
        table=Table(NS),
        reporter=Reporter(),
        sink=sink,
        board=StatusBoard(),
        pods=pods,
        not_ready=None,
    )


def test_a_trouble_is_one_line_and_its_end_another(own, sink):
    for second in range(5):
        own.trouble("core failed: no memory", second * NS)
    own.trouble(None, 5 * NS)
    own.trouble(None, 6 * NS)
    assert sink.said == [
        (
            "error",
            "core failed: no memory; trying again, zombies are reported late until then",
        ),
        ("info", RECOVERED),
    ]


def test_troubles_that_come_and_go_fill_no_log(own, sink):
    for second in range(600):
        own.trouble("no memory" if second % 2 else None, second * NS)
    assert len(sink.said) <= 2 * 600 // 60


def test_one_that_stays_is_reported_though_another_was_a_moment_ago(own, sink):
    own.trouble("first", 0)
    own.trouble(None, NS)
    for second in range(10, 100):
        own.trouble("second", second * NS)
    own.trouble(None, 100 * NS)
    assert [reason.partition(";")[0] for _, reason in sink.said[2:]] == [
        "second",
        "recovered after 90.0 s",
    ]


def test_another_source_ends_a_trouble(own, sink):
    own.trouble("core failed", 0)
    own.source_changed(SourceChange("proc", "core", "core failed; proc works", improvement=False))
    own.trouble(None, NS)
    assert len(sink.said) == 2


# --- Kubernetes ---------------------------------------------------------------------------


def pass_time(own, first, last):
    """Publish as the loop does, ten times a second."""
    for tenth in range(first * 10, last * 10):
        own.publish(tenth * NS // 10, snapshot_ns=None, problem=None)


def ups(sink):
    return [(level, about["up"]) for level, about in sink.said]


def test_an_api_server_that_answers_in_the_first_seconds_is_not_mentioned(own, sink, pods):
    pass_time(own, 0, 2)
    pods.last_error = "connection refused"
    pass_time(own, 2, 3)
    pods.up = True
    pass_time(own, 3, 100)
    assert sink.said == []


def test_an_outage_is_one_line_and_its_end_another(own, sink, pods):
    pods.up = True
    pass_time(own, 0, 10)
    pods.up, pods.last_error = False, "cannot watch pods: connection refused"
    pass_time(own, 10, 60)
    [(level, began)] = sink.said
    assert (level, began["up"], began["error"]) == ("warning", False, pods.last_error)
    assert "log folders" in began["fallback"]
    assert began["since"] == rfc3339(10 * NS + boot_to_wall_ns())
    pods.up = True
    pass_time(own, 60, 70)
    [_, (level, over)] = sink.said
    assert (level, over["up"], over["error"], over["fallback"]) == ("info", True, None, None)
    assert over["away_seconds"] == 50.0


def test_one_that_never_answered_is_reported_with_that_reason(own, sink):
    pass_time(own, 0, 10)
    [(level, began)] = sink.said
    assert (level, began["error"]) == ("warning", "it has not answered yet")


def test_an_api_server_that_comes_and_goes_is_one_pair_a_minute(own, sink, pods):
    pods.last_error = "connection refused"
    for second in range(0, 600, 5):
        pods.up = not pods.up
        pass_time(own, second, second + 5)
    assert 2 <= len(sink.said) <= 2 * 10
    assert ups(sink)[:2] == [("warning", False), ("info", True)]


def test_what_an_earlier_agent_reported_is_not_counted_again(own, sink):
    """`detected` of agent_stopped counts what this agent detected."""
    table = own._table
    now = 100 * NS
    old, queued = (Zombie(child(pid, now_boot_ns=now), 0, 1) for pid in (2001, 2002))
    table.restore(old, None)
    table.restore(queued, None)
    own.restored([Detected(queued)])
    table.apply([child(2003, now_boot_ns=now), Gone(old.child.identity, now)], now)
    events = []
    sink.emit = events.append
    own.summary()
    own.stopped("SIGTERM", failed=False)
    for event in events:
        counts = event.fields["zombies"]
        assert (counts["now"], counts["detected"], counts["reaped"]) == (2, 2, 1)
