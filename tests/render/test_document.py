"""The documents of the contract: complete, in order, and as the schema says."""

import signal
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import records as made
from support.schema import check_scan, problems

from tracer.clock import TICK_NS
from tracer.model import (
    UNKNOWN_TICKS,
    Attribution,
    CauseCode,
    Confidence,
    Container,
    Identity,
    Owner,
    StormPhase,
    Waits,
)
from tracer.model.event import LEVELS, EventName
from tracer.render.cause_id import KNOWN, ExplainedCauses
from tracer.render.document import event_document, explained_by, zombie_document
from tracer.render.fields import FIELDS
from tracer.render.words import exit_text, signal_name, state_name

AT = {"node_name": made.NODE, "to_wall_ns": made.TO_WALL_NS}


def document(event):
    built = event_document(event, version="0.1.0", **AT)
    assert problems(built) == []
    return built


def scan(record):
    built = zombie_document(record, **AT)
    check_scan([built])
    return built


def test_the_contracts_example():
    built = document(made.event())
    assert list(built) == [
        "timestamp", "level", "event", "schema_version", "message", "process", "zombie", "parent",
        "forker", "k8s", "container", "systemd", "cause", "event.id",
    ]  # fmt: skip
    assert built["timestamp"] == "2026-11-22T10:05:42.123456Z"
    assert built["process"]["exit"] == {
        "time": "2026-11-22T10:05:32.103456Z",
        "time_known": True,
        "code": 0,
        "signal": None,
        "core_dumped": False,
    }
    assert built["zombie"]["age_seconds"] == 10.02
    assert built["parent"]["waits"] == {"any": 0, "specific": 0, "last_seconds_ago": None}
    assert built["forker"]["is_parent"] is True
    assert built["k8s"]["pod"] == {"name": "pod-with-a-zombie-mtf8f", "uid": "b5b4bd95-0000"}
    assert built["k8s"]["job"]["name"] == "pod-with-a-zombie"
    assert built["k8s"]["deployment"]["name"] is None
    assert built["cause"]["code"] == "parent_never_waits"


@pytest.mark.parametrize(
    ("owner", "controller", "names"),
    [
        (Owner("CronJob", "backup"), Owner("Job", "backup-29384720"),
         {"cronjob": "backup", "job": "backup-29384720"}),
        (Owner("Deployment", "web"), Owner("ReplicaSet", "web-7d4b9c8f6"),
         {"deployment": "web", "replicaset": "web-7d4b9c8f6"}),
        (Owner("Job", "migrate"), Owner("Job", "migrate"), {"job": "migrate"}),
    ],
)  # fmt: skip
def test_owner_and_the_controller_between_have_their_names(owner, controller, names):
    workload = replace(made.POD.workload, owner=owner, controller=controller)
    k8s = scan(made.record(attribution=replace(made.POD, workload=workload)))["k8s"]
    kinds = ("deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob")
    assert {kind: k8s[kind]["name"] for kind in kinds if k8s[kind]["name"]} == names


def test_creation_time_is_that_of_the_tick_whatever_the_source_knows():
    precise = made.child()
    start = precise.identity.start_ticks * TICK_NS
    times = {
        scan(made.record(replace(precise, start_boot_ns=start + more)))["process"]["creation"][
            "time"
        ]
        for more in (0, 1_234_567, TICK_NS - 1)
    }
    assert len(times) == 1


@pytest.mark.parametrize(
    "event",
    [*map(made.storm, StormPhase), *made.other_events(), made.kubernetes_changed()],
    ids=lambda e: e.name,
)
def test_every_other_event_follows_the_schema(event):
    built = document(event)
    assert built["level"] == LEVELS[event.name]
    assert built["k8s"]["node"] == {"name": made.NODE}


def test_no_event_name_is_left_untested():
    others = [made.storm(), *made.other_events(), made.kubernetes_changed()]
    covered = {event.name for event in others}
    zombie_events = {EventName.ZOMBIE_DETECTED, EventName.ZOMBIE_AGED, EventName.ZOMBIE_REAPED}
    assert covered | zombie_events == set(EventName)


def test_a_reaped_one_carries_its_lifetime():
    reaped = made.record(lifetime_ns=12_345_678_901)
    built = document(made.event(EventName.ZOMBIE_REAPED, reaped))
    assert built["zombie"]["lifetime_seconds"] == 12.345679
    assert built["level"] == "info"


def test_a_cause_has_the_same_id_in_every_line_about_that_parent():
    """Also after a restart: it depends on the boot, the parent and the code only."""

    def cause_id(event, boot_id="boot-1"):
        return event_document(event, version="0.1.0", boot_id=boot_id, **AT)["cause"]["id"]

    first = cause_id(made.event())
    assert first == cause_id(made.event(EventName.ZOMBIE_REAPED, made.record(made.child(7))))
    assert first == cause_id(made.storm())
    other = replace(made.NEVER, code=CauseCode.SLOW_REAPER)
    assert (
        len(
            {
                first,
                cause_id(made.event(), "boot-2"),
                cause_id(made.event(of=made.record(cause=other))),
                cause_id(made.event(of=made.record(parent=made.process(7)))),
            }
        )
        == 4
    )


def test_a_cause_without_a_known_parent_has_no_id():
    nobody = made.event(of=made.record(parent=None))
    hidden = made.storm(parent=Identity(7, UNKNOWN_TICKS))
    for event in (nobody, hidden):
        cause = event_document(event, version="0.1.0", boot_id="boot-1", **AT)["cause"]
        assert (cause["id"], cause["code"]) == (None, "parent_never_waits")


def test_an_explained_cause_leaves_out_evidence_and_advice():
    explained = ExplainedCauses()

    def cause(event):
        built = event_document(event, version="0.1.0", boot_id="boot-1", explained=explained, **AT)
        assert problems(built) == []
        return built["cause"]

    first = cause(made.event())
    assert first["evidence"]
    assert first["advice"]
    explained.add((first["id"], first["confidence"]))
    for event in (made.event(), made.event(EventName.ZOMBIE_AGED), made.storm()):
        assert cause(event) == {**first, "evidence": None, "advice": None}
    surer = made.record(cause=replace(made.NEVER, confidence=Confidence.LIKELY))
    assert cause(made.event(of=surer))["evidence"], "another confidence is another explanation"


def test_a_line_with_evidence_explains_its_cause():
    explained = ExplainedCauses()

    def explanation(event):
        built = event_document(event, version="0.1.0", boot_id="boot-1", explained=explained, **AT)
        return explained_by(built)

    first = explanation(made.event())
    explained.add(first)
    assert first[1] == "certain"
    assert explanation(made.event()) is None


def test_explained_causes_are_bounded_and_the_oldest_goes_first():
    explained = ExplainedCauses()
    for number in range(KNOWN):
        explained.add((str(number), "certain"))
    assert ("0", "certain") in explained
    explained.add(("more", "certain"))
    assert ("0", "certain") in explained
    assert ("1", "certain") not in explained


def test_what_is_unknown_is_null_and_never_zero():
    bare = made.child(
        exit_boot_ns=None, exit_status=None, vpid=None, uid=None, comm=None, forker=None, parent=0
    )
    built = scan(made.record(bare, parent=None, waits=None, attribution=Attribution(), cause=None))
    assert built["process"]["exit"] == {
        "time": None, "time_known": False, "code": None, "signal": None, "core_dumped": None,
    }  # fmt: skip
    assert built["process"]["parent_pid"] is None
    assert built["parent"]["waits"] == {"any": None, "specific": None, "last_seconds_ago": None}
    assert built["forker"] == {"pid": None, "executable": {"name": None}, "is_parent": None}
    assert built["k8s"]["pod"] is None
    assert set(built["cause"].values()) == {None}
    assert built["zombie"]["age_seconds"] == 10.0


def test_a_killed_one_has_a_signal_and_no_code():
    exit_ = scan(made.record(made.child(exit_status=signal.SIGSEGV | 0x80)))["process"]["exit"]
    assert (exit_["code"], exit_["signal"], exit_["core_dumped"]) == (None, "SIGSEGV", True)


def test_a_pod_without_a_name_is_still_a_pod():
    nameless = Attribution(container=Container("ab" * 32, "cri-o", pod_uid="u-1"))
    built = scan(made.record(attribution=nameless))
    assert built["k8s"]["pod"] == {"name": None, "uid": "u-1"}


def test_forker_and_waits_are_those_at_the_moment_of_the_event():
    waits = Waits(2, 5, made.NOW - 3_000_000_000, None, 7, 0, 0, 0, 0)
    other = made.record(parent=made.process(pid=1), waits=waits)
    built = scan(other)
    assert built["forker"]["is_parent"] is False
    assert built["parent"]["waits"] == {"any": 2, "specific": 5, "last_seconds_ago": 3.0}


def test_a_storm_has_its_numbers_and_samples():
    built = document(made.storm())
    storm = built["storm"]
    assert (storm["zombies"], storm["rate_per_second"]) == (300_000, 1234.568)
    assert [sample["process"]["pid"] for sample in storm["samples"]] == [2001, 2002]
    assert "process" not in built


def test_fields_of_an_event_cannot_overwrite_its_head():
    event = replace(made.other_events()[3], fields={"zombies": {}, "lost": {}, "event": "x"})
    assert document(event)["event"] == "summary"


def test_every_field_of_the_table_is_in_a_line():
    def leaves(node, path=""):
        for name, value in node.items():
            below = f"{path}.{name}" if path else name
            yield from leaves(value, below) if isinstance(value, dict) else [below]

    lines = {*leaves(document(made.event())), *leaves(document(made.storm()))}
    assert set(FIELDS) <= lines


@given(st.integers(0, 0xFFFF))
def test_any_wait_status_gives_a_valid_line(status):
    exit_ = scan(made.record(made.child(exit_status=status)))["process"]["exit"]
    assert (exit_["code"] is None) == (exit_["signal"] is not None)
    assert exit_text(status) != "-"


@pytest.mark.parametrize(
    ("number", "name"),
    [(9, "SIGKILL"), (17, "SIGCHLD"), (29, "SIGIO"), (32, "SIG32"), (34, "SIGRTMIN"), (35, "SIGRTMIN+1"),
     (49, "SIGRTMIN+15"), (50, "SIGRTMAX-14"), (63, "SIGRTMAX-1"), (64, "SIGRTMAX"), (99, "SIG99")],
)  # fmt: skip
def test_signals_have_the_names_of_kill(number, name):
    assert signal_name(number) == name


def test_states_are_words():
    assert [state_name(letter) for letter in ("S", "T", "?", None)] == [
        "sleeping", "stopped", "?", None,
    ]  # fmt: skip


def test_the_schema_is_closed():
    """An unplanned field, a wrong level or a missing field is found."""
    good = event_document(made.event(), version="0.1.0", **AT)
    for wrong in (
        {**good, "extra": 1},
        {**good, "level": "info"},
        {**good, "process": {**good["process"], "extra": 1}},
        {**good, "process": {**good["process"], "pid": 0}},
        {key: value for key, value in good.items() if key != "cause"},
        {**good, "event": "zombie_eaten"},
        {**good, "zombie": {**good["zombie"], "lifetime_seconds": 1.0}},
    ):
        assert problems(wrong)
