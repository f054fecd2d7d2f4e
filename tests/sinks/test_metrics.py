"""/metrics as a golden file, and its bounds."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.golden import check_golden
from support.records import HOST, NEVER, NOW, POD

from tracer.agent.summary import lost
from tracer.clock import NS
from tracer.model import (
    Attribution,
    Child,
    Gone,
    Identity,
    Losses,
    Record,
    StormChanged,
    Workload,
    Zombie,
)
from tracer.model.event import Event, EventName, StormContext
from tracer.model.status import EngineStatus, ZombieGroup, fold, why_not_alive
from tracer.sinks.metrics import CONTAINERS, NAMESPACES, MetricsSink
from tracer.table.storm import StormRules
from tracer.table.table import Table

STATUS = EngineStatus(
    last_tick_boot_ns=NOW,
    source="core",
    not_ready=None,
    groups=(
        ZombieGroup("example", "pod-1", "app", "parent_never_waits", 9, NOW - 70 * NS, 94_923),
        ZombieGroup("example", "pod-1", "app", "traced", 1, NOW - 10 * NS, 10_547),
        ZombieGroup("example", "pod-1", "sidecar", None, 2, None, 21_094),
        ZombieGroup(None, None, None, "slow_reaper", 1, NOW - 5 * NS, 10_547),
    ),
    exits=123_456,
    losses=Losses(map_full=1, queue_full=2, ring_full=3, parse_errors=4),
    sink_drops=5,
    snapshot_ns=6_200_000,
    kubernetes_up=True,
)


NO_POD = {"pod": "", "container": ""}


def record(attribution=POD, *, exit_seen=True, lifetime_ns=None, cause=NEVER):
    child = Child(Identity(7, 70), 1, 0, exit_boot_ns=0 if exit_seen else None)
    return Record(Zombie(child, 0, 1), NS, None, None, attribution, cause, lifetime_ns=lifetime_ns)


def event(name, of):
    return Event(name, NOW, record=of)


def in_namespace(name):
    return Attribution(workload=Workload(name, "pod", None))


@pytest.fixture
def sink():
    return MetricsSink(lambda: STATUS, clock=lambda: NOW, process_metrics=False)


def value(sink, name, **labels):
    return sink.registry.get_sample_value(name, labels)


def test_metrics_are_those_of_the_contract(sink):
    sink.emit(event(EventName.ZOMBIE_DETECTED, record()))
    sink.emit(event(EventName.ZOMBIE_DETECTED, record(HOST, cause=None)))
    sink.emit(event(EventName.ZOMBIE_REAPED, record(lifetime_ns=42 * NS)))
    check_golden("metrics.txt", generate_latest(sink.registry).decode())


OF_THE_AGENT = {
    "zombie_tracer_zombie_lifetime_seconds",
    "zombie_tracer_exits",
    "zombie_tracer_lost",
    "zombie_tracer_source_info",
    "zombie_tracer_snapshot_duration_seconds",
    "zombie_tracer_kubernetes_up",
}


def test_a_series_about_zombies_leaves_no_place_for_the_labels_of_the_agents_pod(sink):
    """Prometheus attaches the target's labels where a series has none, also with honor_labels."""
    sink.emit(event(EventName.ZOMBIE_DETECTED, record()))
    sink.emit(event(EventName.ZOMBIE_REAPED, record(lifetime_ns=42 * NS)))
    for family in text_string_to_metric_families(generate_latest(sink.registry).decode()):
        for sample in family.samples:
            place = {"namespace", "pod", "container"} & set(sample.labels)
            expected = 0 if family.name in OF_THE_AGENT else 3
            assert len(place) == expected, sample


UNITS = {"seconds": "seconds", "bytes": "bytes"}


def test_help_names_the_unit(sink):
    """Whoever reads a series in a dashboard sees the HELP text, not this repository."""
    for family in text_string_to_metric_families(generate_latest(sink.registry).decode()):
        unit = UNITS.get(family.name.rpartition("_")[2])
        assert unit is None or unit in family.documentation.lower(), family


def test_a_scraper_can_parse_them_and_no_help_is_missing(sink):
    sink.emit(event(EventName.ZOMBIE_DETECTED, record()))
    families = list(text_string_to_metric_families(generate_latest(sink.registry).decode()))
    assert all(family.documentation for family in families)
    assert len(families) == 11


def test_stages_have_the_names_of_the_log(sink):
    stages = lost(STATUS.losses, STATUS.sink_drops)
    assert set(stages) >= {"map_full", "recursion_misses", "parse_errors", "sink"}
    for stage, count in stages.items():
        assert value(sink, "zombie_tracer_lost_total", stage=stage) == count


def test_what_is_unknown_is_left_out():
    sink = MetricsSink(EngineStatus, process_metrics=False)
    text = generate_latest(sink.registry).decode()
    for name in ("exits_total", "kubernetes_up", "snapshot_duration", "source_info"):
        assert name not in text


def test_a_storm_is_counted_once_however_often_it_pauses(sink):
    """Begin, end, a second begin, drained, a third: each zombie is counted once."""
    table = Table(0, StormRules(burst=1, refill_per_second=0.001, interval_ns=NS))
    detected = reaped = 0

    def report(transitions):
        nonlocal detected, reaped
        for transition in transitions:
            if isinstance(transition, StormChanged):
                detected, reaped = transition.storm.detected, transition.storm.reaped
                context = StormContext(transition.storm, None, POD, NEVER)
                sink.emit(Event(EventName.ZOMBIE_STORM, NOW, storm=context))

    def born(pids, now):
        children = [Child(Identity(pid, 1), 77, 0, exit_boot_ns=now) for pid in pids]
        report(table.apply(children, now))

    def gone(pids, now):
        report(table.apply([Gone(Identity(pid, 1), now) for pid in pids], now))

    def total(kind, **labels):
        return value(sink, f"zombie_tracer_{kind}_total", namespace="example", **NO_POD, **labels)

    born(range(101), NS)
    gone(range(40), 2 * NS)
    report(table.tick(3 * NS))
    report(table.tick(5 * NS))
    born(range(200, 210), 6 * NS)
    gone([*range(40, 101), *range(200, 210)], 7 * NS)
    report(table.tick(9 * NS))
    report(table.tick(11 * NS))
    assert (detected, reaped) == (110, 110)
    assert total("detected", cause="parent_never_waits") == 110
    assert total("reaped") == 110
    born(range(300, 303), 13 * NS)
    assert (detected, reaped) == (3, 0)
    assert total("detected", cause="parent_never_waits") == 113


def test_a_lower_bound_is_not_a_lifetime(sink):
    sink.emit(event(EventName.ZOMBIE_REAPED, record(exit_seen=False, lifetime_ns=NS)))
    assert value(sink, "zombie_tracer_zombie_lifetime_seconds_count") == 0
    assert value(sink, "zombie_tracer_reaped_total", namespace="example", **NO_POD) == 1


def test_namespaces_without_end_do_not_make_series_without_end(sink):
    for number in range(NAMESPACES + 1000):
        sink.emit(event(EventName.ZOMBIE_DETECTED, record(in_namespace(f"ns-{number}"))))
    labels = {"namespace": "_other", **NO_POD, "cause": "parent_never_waits"}
    assert value(sink, "zombie_tracer_detected_total", **labels) == 1000
    text = generate_latest(sink.registry).decode()
    assert text.count("zombie_tracer_detected_total{") == NAMESPACES + 1


def test_pods_without_end_do_not_make_series_without_end():
    groups = tuple(
        ZombieGroup("ns", f"pod-{number:05}", "c", cause, 1, NOW - number, 100)
        for number in range(5000)
        for cause in ("traced", "unknown")
    )
    sink = MetricsSink(
        lambda: replace(STATUS, groups=groups), clock=lambda: NOW, process_metrics=False
    )
    text = generate_latest(sink.registry).decode()
    assert text.count("zombie_tracer_zombies{") == 2 * CONTAINERS + 2
    other = {"namespace": "_other", "pod": "_other", "container": "_other"}
    assert value(sink, "zombie_tracer_zombies", **other, cause="traced") == 5000 - CONTAINERS


names = st.sampled_from([None, "a", "b", "c"])
groups = st.lists(
    st.builds(
        ZombieGroup,
        names,
        names,
        names,
        st.sampled_from([None, "traced", "unknown"]),
        st.integers(1, 9),
        st.none() | st.integers(0, 9),
        st.integers(0, 9),
    ),
    max_size=30,
)


@given(groups, st.integers(0, 5))
def test_folding_keeps_every_sum_and_the_bound(all_groups, limit):
    folded = fold(all_groups, limit)
    for field in ("zombies", "kernel_bytes"):
        assert sum(getattr(g, field) for g in folded) == sum(getattr(g, field) for g in all_groups)
    assert len({(g.namespace, g.pod, g.container) for g in folded}) <= limit + 1
    known = [g.oldest_since_boot_ns for g in all_groups if g.oldest_since_boot_ns is not None]
    assert min(
        (g.oldest_since_boot_ns for g in folded if g.oldest_since_boot_ns is not None), default=None
    ) == min(known, default=None)


@pytest.mark.parametrize("kept", [True, False])
def test_a_hostile_label_stays_one_label(kept):
    name = 'x"} 1\nzombie_tracer_zombies{a="'
    group = ZombieGroup(name, "p", "c", "traced", 1, NOW, 1)
    sink = MetricsSink(
        lambda: replace(STATUS, groups=(group,)), clock=lambda: NOW, process_metrics=kept
    )
    assert (
        value(sink, "zombie_tracer_zombies", namespace=name, pod="p", container="c", cause="traced")
        == 1
    )
    list(text_string_to_metric_families(generate_latest(sink.registry).decode()))


def test_alive_until_the_loop_is_silent_for_too_long():
    assert why_not_alive(EngineStatus(), NOW) is None
    assert why_not_alive(EngineStatus(last_tick_boot_ns=NOW - 30 * NS), NOW) is None
    assert why_not_alive(EngineStatus(last_tick_boot_ns=NOW - 42 * NS), NOW) == (
        "the loop has not ticked for 42 s"
    )
