"""What each client of a live view is shown: everything once, also what was there before. Pure."""

from dataclasses import replace

from support import records
from support.records import NOW, child, record, storm

from tracer.agent.audience import Audience, dismiss
from tracer.clock import NS
from tracer.model import StormPhase
from tracer.model.event import Event, EventName

STARTED = Event(EventName.AGENT_STARTED, NOW)


class Heard:
    def __init__(self):
        self.events = []
        self.closed = 0

    def emit(self, event):
        self.events.append(event)

    def names(self):
        return [event.name.value for event in self.events]

    def dropped(self):
        return 0

    def close(self, timeout_seconds):
        self.closed += 1


class Broken(Heard):
    def emit(self, event):
        raise ValueError("this sink is broken")


def event(name, pid):
    return records.event(name, record(child(pid)))


def test_a_client_that_joins_later_is_shown_what_is_there_first():
    audience, heard = Audience(), Heard()
    there = [record(child(1)), storm().storm, record(child(2))]
    audience.join(heard, STARTED, there)
    assert heard.names() == ["agent_started"]
    assert audience.replaying
    assert audience.replay(NOW + NS, 2) == 2
    assert audience.replay(NOW + NS, 2) == 1
    assert not audience.replaying
    assert heard.names()[1:] == ["zombie_detected", "zombie_storm", "zombie_detected"]
    shown = heard.events[1]
    assert shown.record.age_ns == there[0].age_ns + NS, "as old as it is now"
    audience.emit(event(EventName.ZOMBIE_REAPED, 1))
    assert heard.names()[-1] == "zombie_reaped"


def test_what_changes_before_it_was_shown_is_shown_once():
    audience, heard = Audience(), Heard()
    there = [record(child(pid)) for pid in (1, 2, 3)]
    audience.join(heard, None, [*there, storm().storm])
    audience.emit(event(EventName.ZOMBIE_REAPED, 1))
    audience.emit(event(EventName.ZOMBIE_AGED, 2))
    audience.emit(storm(StormPhase.DRAINED))
    audience.emit(event(EventName.ZOMBIE_DETECTED, 4))
    audience.replay(NOW, 10)
    shown = [(each.name.value, each.record.zombie.child.identity.pid) for each in heard.events]
    assert shown == [("zombie_detected", 2), ("zombie_detected", 4), ("zombie_detected", 3)]
    audience.emit(replace(storm(StormPhase.ONGOING)))
    assert heard.names()[-1] == "zombie_storm"


def test_a_client_that_left_hears_no_more():
    audience, heard, other = Audience(), Heard(), Heard()
    audience.join(heard, None, [])
    audience.join(other, None, [])
    audience.leave(heard)
    audience.emit(event(EventName.ZOMBIE_DETECTED, 1))
    assert (heard.names(), other.names()) == ([], ["zombie_detected"])
    assert not heard.closed, "it closed itself"


def test_a_sink_that_raises_is_dropped_and_the_others_go_on():
    audience, broken, heard = Audience(), Broken(), Heard()
    audience.join(broken, None, [record(child(1))])
    audience.join(heard, None, [])
    for pid in (2, 3):
        audience.emit(event(EventName.ZOMBIE_DETECTED, pid))
    assert heard.names() == ["zombie_detected"] * 2
    assert broken not in audience
    assert broken.closed == 1
    assert not audience.replaying


def test_dismissing_a_broken_sink_harms_nobody():
    dismiss(Broken(), STARTED)
    heard = Heard()
    dismiss(heard, STARTED)
    assert (heard.names(), heard.closed) == (["agent_started"], 1)
