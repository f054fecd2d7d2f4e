"""The sentence of every line: what happened, to whom, and why."""

import re
from dataclasses import replace

import pytest
from support import records as made

from tracer.model import Attribution, Cause, CauseCode, Confidence, Container, StormPhase
from tracer.model.event import Event, EventName
from tracer.render.message import MAX_CHARACTERS, event_message, zombie_message

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def of(name, fields, level=None):
    return event_message(Event(name, made.NOW, fields=fields, level=level))


def test_the_contracts_example():
    assert event_message(made.event()) == (
        "zombie-1 (pid 1296039) in example/pod-with-a-zombie-mtf8f has not been reaped for 10s"
        " by bash (pid 1296034), which never waits for it"
    )


def test_a_list_of_zombies_says_the_same():
    assert zombie_message(made.record(), None) == event_message(made.event())


def test_an_aged_one_is_still_there():
    record = made.record(age_ns=600_000_000_000)
    assert " has still not been reaped for 10m00s by bash " in event_message(
        made.event(EventName.ZOMBIE_AGED, record)
    )


def test_a_reaped_one_says_how_long_it_was_a_zombie():
    record = made.record(age_ns=12_300_000_000, lifetime_ns=12_300_000_000)
    assert event_message(made.event(EventName.ZOMBIE_REAPED, record)) == (
        "zombie-1 (pid 1296039) in example/pod-with-a-zombie-mtf8f was reaped after 12s;"
        " its parent was bash (pid 1296034)"
    )


def test_what_is_unknown_is_not_made_up():
    bare = made.record(
        made.child(exit_boot_ns=None, comm=None, parent=0),
        parent=None,
        attribution=Attribution(),
        cause=None,
    )
    assert event_message(made.event(of=bare)) == (
        "a process (pid 1296039) has not been reaped for at least 10s"
        " by a parent outside the agent's pid namespace"
    )


def test_outside_pods_the_unit_or_container_is_named():
    unit = made.record(attribution=made.HOST)
    assert " in cron.service has " in event_message(made.event(of=unit))
    pod = made.record(attribution=Attribution(container=Container(None, pod_uid="u-1")))
    assert " in pod u-1 has " in event_message(made.event(of=pod))


@pytest.mark.parametrize("code", CauseCode)
def test_every_cause_has_its_words(code):
    said = {
        event_message(made.event(of=made.record(cause=Cause(code, confidence, (), ""))))
        for confidence in Confidence
    }
    assert len(said) == (1 if code is CauseCode.UNKNOWN else 3)
    assert not any("{" in text or "  " in text for text in said)


BEGAN = (
    "a zombie storm began: bash (pid 1296034) in example/pod-with-a-zombie-mtf8f has 300000"
    " zombies, the oldest 3m07s old, 1235 new a second; from now on they are counted and not listed"
)
ENDED = "has 300000 zombies left of 300123 counted, the oldest 3m07s old"


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        (StormPhase.BEGAN, BEGAN),
        (StormPhase.ONGOING, "the zombie storm goes on: bash "),
        (StormPhase.ENDED, ENDED),
        (StormPhase.DRAINED, "of the 300123 counted zombies of bash (pid 1296034)"),
    ],
)
def test_every_phase_of_a_storm(phase, words):
    assert words in event_message(made.storm(phase))


def test_a_drained_storm_says_what_became_of_its_zombies():
    event = made.storm(StormPhase.DRAINED, zombies=0, detected=9, reaped=5, adopted=4)
    assert event_message(event).endswith(
        "none is left, 5 were reaped, 4 adopted by another process"
    )


def test_start_and_stop():
    started, *_, stopped = made.other_events()
    assert event_message(started) == (
        "the agent started with source core: BTF and CAP_BPF are here"
    )
    assert event_message(stopped) == "the agent stopped"
    failed = replace(stopped, level="error", fields={"source": {"name": None, "reason": "no BTF"}})
    assert event_message(failed) == "the agent stopped because of an error: no BTF"


def test_a_change_of_the_source():
    def changed(name, previous, reason, level=None):
        fields = {"source": {"name": name, "previous": previous, "reason": reason}}
        return of(EventName.SOURCE_CHANGED, fields, level)

    assert changed("proc", "core", "no map") == (
        "the agent fell back to source proc from core: no map"
    )
    assert changed("core", "proc", "it works", "info") == (
        "the agent returned to source core from proc: it works"
    )
    assert changed("core", "core", "events were lost") == "source core: events were lost"
    assert changed(None, "core", "EIO") == "no source is in use, core has failed: EIO"


def test_the_api_server_goes_and_comes():
    fields = {"kubernetes": {"up": False, "error": "connection refused", "since": "10:05"}}
    assert of(EventName.KUBERNETES_CHANGED, fields) == (
        "the API server cannot be reached since 10:05: connection refused"
    )
    assert "can be reached again" in of(EventName.KUBERNETES_CHANGED, {}, "info")


def test_a_summary_counts():
    assert event_message(made.other_events()[3]) == (
        "12 zombies now; 20 detected and 0 reaped since the last summary;"
        " 3 events or lines lost so far"
    )
    assert of(EventName.SUMMARY, {"zombies": {"now": 1}, "lost": {}}) == "1 zombie now"


def test_pids_pressure_says_who_and_how_long():
    assert event_message(made.other_events()[2]) == (
        "example/p uses 900 of 1000 pids, 850 of them zombies; at this rate none is left in 1m06s"
    )


def test_every_event_has_a_sentence():
    events = {event.name: event for event in [made.storm(), *made.other_events()]}
    for name in EventName:
        event = events.get(name, made.event(name))
        assert event_message(event), name


@pytest.mark.parametrize("letter", ["x", "\x1b", "\x7f", "\x9b", "\u202e", "\udc80", "é"])
def test_what_tenants_wrote_is_escaped_and_bounded(letter):
    evil = letter * 1000
    record = made.record(made.child(comm=evil), parent=made.process(comm=evil))
    for text in (
        event_message(made.event(of=record)),
        of(EventName.AGENT_STOPPED, {"source": {"reason": evil}}, "error"),
    ):
        assert len(text) <= MAX_CHARACTERS
        assert text.endswith("…")
        assert not CONTROL.search(text)
        text.encode()
