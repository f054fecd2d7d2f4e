"""A client of the live view: what it gets, and that it cannot hold up the engine."""

import json
import threading
import time
from dataclasses import replace

import pytest
from support import records as made
from support.serving import DEADLINE_SECONDS, Peer, ask, serving
from support.zombies import wait_until

from tracer.agent.serve import live
from tracer.agent.serve.live import LiveClient
from tracer.attribution.filters import Filters
from tracer.errors import TemporaryError
from tracer.model import Attribution
from tracer.model.event import Event, EventName


class OneFollower:
    """The engine's live views, as far as a client sees them."""

    def __init__(self):
        self.sink = None
        self.subscribed = threading.Event()
        self.closed = threading.Event()

    def subscribe(self, _min_age_ns, sink):
        self.sink = sink
        self.subscribed.set()
        return self

    def close(self):
        self.closed.set()


class Names:
    """Renders an event as its name and pid; notes its width."""

    columns = None

    def render(self, event):
        pid = event.record.zombie.child.identity.pid if event.record else "-"
        return f"{event.name} {pid}\n"

    def resize(self, columns):
        self.columns = columns


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def followers():
    return OneFollower()


@pytest.fixture
def handle(followers, request):
    view, filters = Names(), getattr(request, "param", Filters())

    def handle(_request, client):
        LiveClient(client, view, filters).follow(followers, 1)

    handle.view = view
    return handle


def zombie_event(name=EventName.ZOMBIE_DETECTED, *, attribution=None, **more):
    record = made.record(made.child(**more))
    if attribution is not None:
        record = replace(record, attribution=attribution)
    return Event(name, 1, record=record)


def joined(folder, followers):
    peer = Peer(folder).send(ask("follow"))
    assert followers.subscribed.wait(DEADLINE_SECONDS)
    return peer


def test_it_gets_events_until_the_agent_ends(folder, followers, handle):
    with serving(folder, handle):
        peer = joined(folder, followers)
        followers.sink.emit(Event(EventName.AGENT_STARTED, 1))
        followers.sink.emit(zombie_event())
        followers.sink.close(0.0)
        *said, error, last = peer.answers()
    assert "".join(one["out"] for one in said).splitlines() == [
        "agent_started -",
        f"zombie_detected {made.record(made.child()).zombie.child.identity.pid}",
    ]
    assert "the agent has ended" in error["err"]
    assert last == {"exit": 3}


def test_events_that_come_while_it_subscribes_are_shown_at_once(folder):
    """The engine may be faster than the thread that subscribes, and nothing more may come."""

    class Fast:
        def subscribe(self, _min_age_ns, sink):
            sink.emit(Event(EventName.AGENT_STARTED, 1))
            time.sleep(0.1)  # the server's thread has looked after its clients by now
            return self

        def close(self):
            pass

    def handle(_request, client):
        LiveClient(client, Names(), Filters()).follow(Fast(), 1)

    with serving(folder, handle):
        peer = Peer(folder).send(ask("follow"))
        assert b"agent_started" in peer.socket.recv(4096)


def test_its_place_is_given_back_when_it_disconnects(folder, followers, handle):
    with serving(folder, handle):
        peer = joined(folder, followers)
        peer.close()
        assert followers.closed.wait(DEADLINE_SECONDS)


def test_a_new_width_reaches_the_view(folder, followers, handle):
    with serving(folder, handle):
        peer = joined(folder, followers)
        peer.send(json.dumps({"columns": 132, "more": 1}).encode() + b"\n")
        wait_until(lambda: handle.view.columns == 132)
        peer.send(b'{"columns": -1}\n{"columns": "x"}\n{"columns": true}\n{}\n')
        peer.send(b"no json\n")
        assert "not a line of JSON" in peer.error()
        assert handle.view.columns == 132


def test_a_client_that_does_not_read_is_disconnected(folder, followers, handle, monkeypatch):
    """The engine is never held up: it queues, and beyond a limit the client has to go."""
    monkeypatch.setattr(live, "EVENTS_WAITING", 100)
    monkeypatch.setattr(handle.view, "render", lambda _: "x" * 10_000 + "\n", raising=False)
    with serving(folder, handle):
        peer = joined(folder, followers)
        for _ in range(1_000):
            followers.sink.emit(zombie_event())
        assert "read too slowly" in peer.error()
        assert followers.closed.wait(DEADLINE_SECONDS)


def test_a_client_too_many_is_told_why_by_the_engine(folder):
    class Full:
        def subscribe(self, _min_age_ns, _sink):
            raise TemporaryError("16 clients follow this agent already")

    def handle(_request, client):
        try:
            LiveClient(client, Names(), Filters()).follow(Full(), 1)
        except TemporaryError as error:
            client.err(f"{error}\n")
            return 3

    with serving(folder, handle):
        assert "16 clients" in Peer(folder).send(ask("follow")).error()


SHOP = Filters(namespaces=frozenset({"shop"}))


@pytest.mark.parametrize("handle", [SHOP], indirect=True)
def test_it_gets_only_what_its_filters_accept(folder, followers, handle):
    """And the end of just those zombies that it was shown."""
    elsewhere = Attribution()
    inside = made.record(made.child()).attribution
    inside = replace(inside, workload=replace(inside.workload, namespace="shop"))
    with serving(folder, handle):
        peer = joined(folder, followers)
        for name in (EventName.ZOMBIE_DETECTED, EventName.ZOMBIE_AGED, EventName.ZOMBIE_REAPED):
            followers.sink.emit(zombie_event(name, attribution=elsewhere, pid=11))
            followers.sink.emit(zombie_event(name, attribution=inside, pid=12))
        followers.sink.emit(zombie_event(EventName.ZOMBIE_REAPED, attribution=inside, pid=11))
        followers.sink.close(0.0)
        text = "".join(one.get("out", "") for one in peer.answers())
    assert text.splitlines() == ["zombie_detected 12", "zombie_aged 12", "zombie_reaped 12"]
