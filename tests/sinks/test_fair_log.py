"""One tenant's zombies cost no other tenant a line, and nothing is left out in silence."""

import json
import os
import threading
from collections import Counter
from dataclasses import replace

from support import records as made
from support.schema import parse_lines
from support.zombies import wait_until

from tracer.model import Confidence
from tracer.model.event import EventName
from tracer.sinks.budget import LogBudget
from tracer.sinks.jsonlog import JsonLogSink

DETECTED, REAPED = EventName.ZOMBIE_DETECTED, EventName.ZOMBIE_REAPED


class Log:
    """A log into a pipe, whose reader begins when it is asked to."""

    def __init__(self, **options):
        out, self._into = os.pipe()
        self._reader = os.fdopen(out, "rb")
        self.written = []
        self.sink = JsonLogSink(
            node_name=made.NODE,
            version="0.1.0",
            boot_id="boot-1",
            descriptor=self._into,
            written=self.written.append,
            to_wall_ns=lambda: made.TO_WALL_NS,
            **options,
        )

    def emit(self, *events):
        for event in events:
            self.sink.emit(event)

    def lines(self):
        """Read all, with agent_stopped as the last event; return the lines."""
        received = []
        reading = threading.Thread(target=lambda: received.append(self._reader.read()))
        reading.start()
        self.emit(made.other_events()[-1])
        self.sink.close(20)
        os.close(self._into)
        reading.join()
        self._reader.close()
        return parse_lines(received[0])


def zombie(name, pid, event=DETECTED, **changes):
    """Make an event about a zombie of that pod."""
    workload = replace(made.POD.workload, namespace=f"ns-{name}", pod=name, pod_uid=name)
    container = replace(made.POD.container, pod_uid=name)
    pod = replace(made.POD, workload=workload, container=container)
    lifetime = {"lifetime_ns": made.NS} if event is REAPED else {}
    record = made.record(made.child(pid), attribution=pod, **lifetime, **changes)
    return made.event(event, record)


def counted(lines):
    """Count the zombie lines by pod and event."""
    return Counter(
        (line["k8s"]["pod"]["name"], line["event"]) for line in lines if "zombie" in line
    )


def losses(lines):
    return [line for line in lines if line["event"] == "agent_message"]


def test_a_flood_of_one_pod_is_cut_and_that_of_another_is_not():
    log = Log(budget=LogBudget(100, 1))
    for pid in range(2000, 2500):
        log.emit(zombie("noisy", pid))
    for pid in range(3000, 3050):
        log.emit(zombie("quiet", pid))
    lines = log.lines()
    found = counted(lines)
    assert 100 <= found["noisy", "zombie_detected"] <= 110
    assert found["quiet", "zombie_detected"] == 50
    [loss] = losses(lines)
    missing = 500 - found["noisy", "zombie_detected"]
    assert loss["k8s"]["namespace"]["name"] == "ns-noisy"
    assert loss["lost"] == {
        "lines": missing,
        "reason": "over_budget",
        "events": {"zombie_detected": missing},
        "pods": [{"name": "noisy", "lines": missing}],
    }
    assert lines[-1]["event"] == "agent_stopped"
    assert lines[-1]["lost"]["by_namespace"] == [
        {"name": "ns-noisy", "over_budget": missing, "queue_full": 0}
    ]
    assert len(log.written) == 551, "what was left out is handled, too: the state knows it"
    assert log.sink.dropped() == 0


def test_without_a_budget_every_line_is_written():
    log = Log()
    for pid in range(2000, 3100):
        log.emit(zombie("noisy", pid))
    lines = log.lines()
    assert counted(lines)["noisy", "zombie_detected"] == 1100


def test_a_zombie_without_zombie_detected_has_no_later_lines():
    log = Log(budget=LogBudget(10, 1))
    pids = range(2000, 2020)
    log.emit(*(zombie("a", pid) for pid in pids))
    log.sink._admission._budgets = None  # as if the budget had filled up meanwhile
    log.emit(*(zombie("a", pid, EventName.ZOMBIE_AGED) for pid in pids))
    log.emit(*(zombie("a", pid, REAPED) for pid in pids))
    log.emit(zombie("a", 2019))  # the pid again, by another zombie of the same identity
    lines = log.lines()
    names = Counter(line["process"]["pid"] for line in lines if "zombie" in line)
    assert names == {**dict.fromkeys(range(2000, 2010), 3), 2019: 1}
    assert lines[-1]["lost"]["by_namespace"][0]["over_budget"] == 30
    assert len(log.written) == 62


def test_a_storm_is_reported_when_the_budget_is_used_up():
    log = Log(budget=LogBudget(10, 1))
    log.emit(*(made.event(of=made.record(made.child(pid))) for pid in range(2000, 2100)))
    log.emit(made.storm())
    assert [line["event"] for line in log.lines()].count("zombie_storm") == 1


def test_a_reader_that_stalls_costs_the_flooding_pod_its_lines_and_nobody_else():
    flood = 5_000
    log = Log(limit=1_000_000)
    quiet = range(10_000, 10_100)
    for number in range(flood):
        log.emit(zombie("noisy", 20_000 + number))
        if number % (flood // 100) == 0:
            log.emit(zombie("quiet", quiet[number * 100 // flood]))
    log.emit(*(zombie("quiet", pid, REAPED) for pid in quiet))
    log.emit(*(zombie("noisy", 20_000 + number, REAPED) for number in range(flood)))
    lines = log.lines()
    found = counted(lines)
    assert found["quiet", "zombie_detected"] == found["quiet", "zombie_reaped"] == 100
    assert 0 < found["noisy", "zombie_detected"] < flood
    missing = 2 * flood - found["noisy", "zombie_detected"] - found["noisy", "zombie_reaped"]
    assert log.sink.dropped() == missing
    assert lines[-1]["lost"]["by_namespace"] == [
        {"name": "ns-noisy", "over_budget": 0, "queue_full": missing}
    ]
    assert sum(loss["lost"]["lines"] for loss in losses(lines)) == missing
    seen = set()
    for line in lines:
        if "zombie" in line:
            pid = line["process"]["pid"]
            assert (line["event"] == "zombie_detected") is (pid not in seen)
            seen.add(pid)


def test_the_agents_own_lines_come_before_the_backlog_and_its_end_after():
    log = Log()
    log.emit(*(zombie("noisy", pid) for pid in range(2000, 3000)))
    log.emit(made.other_events()[3])
    lines = log.lines()
    place = [line["event"] for line in lines].index("summary")
    assert place < 200, "a pipe holds some 40 lines that were written before"
    assert lines[-1]["event"] == "agent_stopped"


def test_the_last_line_is_agent_stopped_however_fast_the_thread_is():
    for _ in range(100):
        log = Log(budget=LogBudget(1, 1))
        log.emit(zombie("a", 2000), zombie("a", 2001))
        wait_until(lambda log=log: len(log.written) == 2)
        names = [line["event"] for line in log.lines()]
        assert names == ["zombie_detected", "agent_message", "agent_stopped"]


def test_what_waits_is_bounded_by_bytes():
    """Long texts do not add up to more memory than short ones."""
    long = replace(made.NEVER, evidence=("x" * 10_000,) * 10)
    log = Log(limit=1_000_000)
    for pid in range(2000, 2200):
        log.emit(zombie("a", pid, cause=long))
    assert 100 <= log.sink.dropped() <= 195
    log.lines()


# --- evidence once ------------------------------------------------------------------------


def test_evidence_and_advice_are_in_the_first_line_of_a_cause_only():
    log = Log()
    log.emit(zombie("a", 2000), zombie("a", 2001), zombie("a", 2001, REAPED))
    likely = replace(made.NEVER, confidence=Confidence.LIKELY)
    log.emit(zombie("a", 2002, cause=likely), zombie("a", 2003, cause=likely))
    causes = [line["cause"] for line in log.lines() if "zombie" in line]
    assert len({cause["id"] for cause in causes}) == 1
    assert [cause["evidence"] is not None for cause in causes] == [True, False, False, True, False]
    assert [cause["advice"] is not None for cause in causes] == [True, False, False, True, False]


def test_a_line_that_was_not_written_explains_nothing():
    log = Log(level="warning")
    log.emit(zombie("a", 2000, REAPED), zombie("a", 2001))
    [line] = [line for line in log.lines() if "zombie" in line]
    assert line["cause"]["evidence"]


def test_a_line_that_a_full_disk_took_explains_nothing(tmp_path):
    log = JsonLogSink(
        node_name=made.NODE,
        version="0.1.0",
        boot_id="boot-1",
        descriptor=(target := os.open("/dev/full", os.O_WRONLY)),
    )
    log.emit(zombie("a", 2000))
    wait_until(log.dropped)
    regular = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(regular, target)
    log.emit(zombie("a", 2001))
    log.close(10)
    os.close(regular)
    os.close(target)
    assert json.loads((tmp_path / "log").read_text())["cause"]["evidence"]
