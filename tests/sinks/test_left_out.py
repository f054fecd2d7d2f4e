"""What is left out of the log is counted exactly, and said when the loss is over."""

import pytest
from support import records as made
from support.schema import problems

from tracer.clock import NS
from tracer.model.event import EventName
from tracer.model.status import OTHER
from tracer.sinks.budget import LogBudget
from tracer.sinks.left_out import NAMESPACES, LeftOut, Loss, Reason
from tracer.sinks.loss_line import loss_document
from tracer.sinks.owner import Names

SHOP = Names("shop", "web-1")


@pytest.fixture
def counting():
    """Give (what counts, a function that sets the time in seconds)."""
    now = [0]
    return LeftOut(lambda: now[0]), lambda seconds: now.__setitem__(0, int(seconds * NS))


def add(left_out, lines, names=SHOP, reason=Reason.OVER_BUDGET, event=EventName.ZOMBIE_DETECTED):
    for _ in range(lines):
        left_out.add(names, reason, event)


def test_a_loss_is_reported_when_it_is_over(counting):
    left_out, at = counting
    assert not left_out.pending
    add(left_out, 3)
    add(left_out, 2, event=EventName.ZOMBIE_REAPED)
    at(9)
    assert left_out.due() == []
    assert left_out.pending
    at(10)
    [loss] = left_out.due()
    assert loss == Loss(
        "shop",
        Reason.OVER_BUDGET,
        {"zombie_detected": 3, "zombie_reaped": 2},
        {"web-1": 5},
    )
    assert loss.lines == 5
    assert left_out.due() == []
    assert not left_out.pending


def test_a_loss_that_lasts_is_reported_every_minute(counting):
    left_out, at = counting
    reported = []
    for second in range(200):
        at(second)
        add(left_out, 1)
        reported += [(second, loss.lines) for loss in left_out.due()]
    assert reported == [(60, 61), (121, 61), (182, 61)]
    assert [loss.lines for loss in left_out.due(everything=True)] == [17]


def test_the_sums_stay_after_the_report(counting):
    left_out, at = counting
    add(left_out, 3)
    add(left_out, 1, Names(None, None), Reason.QUEUE_FULL)
    at(100)
    assert len(left_out.due()) == 2
    add(left_out, 4)
    assert left_out.by_namespace() == [
        {"name": None, "over_budget": 0, "queue_full": 1},
        {"name": "shop", "over_budget": 7, "queue_full": 0},
    ]


def test_memory_is_bounded_and_the_sums_are_exact(counting):
    left_out, _ = counting
    for number in range(3 * NAMESPACES):
        for reason in Reason:
            add(left_out, 1, Names(f"n{number}", f"p{number}"), reason)
    for number in range(1000):
        add(left_out, 1, Names("n0", f"other-{number}"))
    rows = left_out.by_namespace()
    assert len(rows) == NAMESPACES + 1
    assert sum(row["over_budget"] + row["queue_full"] for row in rows) == 6 * NAMESPACES + 1000
    [pods] = [
        loss.pods
        for loss in left_out.due(everything=True)
        if (loss.namespace, loss.reason) == ("n0", Reason.OVER_BUDGET)
    ]
    assert len(pods) <= 101
    assert sum(pods.values()) == 1001
    assert pods[OTHER] == 901


def document(loss):
    built = loss_document(
        loss, LogBudget(1000, 20), node_name=made.NODE, wall_ns=made.NOW + made.TO_WALL_NS
    )
    assert problems(built) == []
    return built


def test_the_line_says_whose_lines_are_missing_why_and_what_to_do():
    built = document(
        Loss("shop", Reason.OVER_BUDGET, {"zombie_detected": 12}, {"web-1": 3, "web-2": 9})
    )
    assert built["message"] == (
        "12 lines about namespace shop, most of them of pod web-2 (12 zombie_detected) were left"
        " out of this log: a pod gets 1000 lines at once, then 20 a second; to log more, raise"
        " --log-burst or --log-rate. The zombies are counted in summary and in the metrics."
    )
    assert built["level"] == "warning"
    assert built["k8s"] == {"node": {"name": made.NODE}, "namespace": {"name": "shop"}}
    assert built["lost"] == {
        "lines": 12,
        "reason": "over_budget",
        "events": {"zombie_detected": 12},
        "pods": [{"name": "web-2", "lines": 9}, {"name": "web-1", "lines": 3}],
    }


def test_a_slow_reader_is_named():
    built = document(Loss(None, Reason.QUEUE_FULL, {"zombie_reaped": 1}, {}))
    assert built["message"].startswith(
        "1 line about zombies outside pods (1 zombie_reaped) was left out of this log:"
        " its reader was too slow;"
    )
    assert built["k8s"]["namespace"] == {"name": None}
