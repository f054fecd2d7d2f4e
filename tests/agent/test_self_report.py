"""What the agent says when something fails for a while: each trouble once, and not too often."""

import pytest
from support.sources import ScriptedSource

from tracer.agent.self_report import SelfReport
from tracer.agent.supervisor import SourceChange, Supervisor
from tracer.clock import NS
from tracer.model.status import StatusBoard
from tracer.table.table import Table

RECOVERED = "recovered after 5.0 s; what happened meanwhile is reported now, no zombie is missing"


class Sink:
    def __init__(self):
        self.said = []

    def emit(self, event):
        self.said.append((event.severity, event.fields["source"]["reason"]))

    def dropped(self):
        return 0


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def own(sink):
    sources = Supervisor("core", {"core": lambda: ScriptedSource("core", clock=lambda: 0)})
    sources.start()
    return SelfReport(
        sources=sources,
        table=Table(NS),
        reporter=None,
        sink=sink,
        board=StatusBoard(),
        pods=None,
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
