"""Ids of events: the same for the same thing, whoever reports it and whenever."""

from dataclasses import replace

import pytest
from support import records as made
from support.schema import problems

from tracer.clock import NS
from tracer.model.event import EventName
from tracer.render.document import event_document
from tracer.render.event_id import event_id

BOOT = "3b1c4d5e-0000-4000-8000-000000000001"


def identifier(event, *, boot_id=BOOT, node_name=made.NODE):
    return event_id(event, boot_id=boot_id, node_name=node_name)


def document(event):
    return event_document(
        event,
        node_name=made.NODE,
        to_wall_ns=made.TO_WALL_NS,
        version="0.1.0",
        boot_id=BOOT,
    )


def test_a_zombie_s_event_has_the_same_id_after_a_restart():
    event = made.event()
    gone = replace(event.record, parent=None, waits=None, cause=None, age_ns=99 * NS)
    later = replace(event, at_boot_ns=made.NOW + NS, record=gone, repeated=True)
    assert identifier(later) == identifier(event)


def test_ids_differ_by_event_age_process_node_and_boot():
    detected = made.event()
    aged = made.event(EventName.ZOMBIE_AGED)
    storm = made.storm()
    other = made.record(made.child(1_296_040))
    ids = [
        identifier(detected),
        identifier(made.event(EventName.ZOMBIE_REAPED)),
        identifier(replace(aged, step_ns=60 * NS)),
        identifier(replace(aged, step_ns=600 * NS)),
        identifier(made.event(of=other)),
        identifier(detected, boot_id="another"),
        identifier(detected, node_name="worker-2"),
        identifier(storm),
        identifier(replace(storm, at_boot_ns=made.NOW + 1)),
        *map(identifier, made.other_events()),
    ]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "event", [made.event(), made.storm(), *made.other_events(), made.kubernetes_changed()]
)
def test_every_event_carries_its_id_and_only_a_repeated_one_says_so(event):
    built = document(event)
    assert built["event.id"] == identifier(event)
    assert "repeated" not in built
    again = document(replace(event, repeated=True))
    assert again["repeated"] is True
    assert problems(again) == []
