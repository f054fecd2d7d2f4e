"""The clients of one live view: each gets every event once, first what is there already."""

import logging
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace

from tracer.model import Record, StormPhase
from tracer.model.event import Event, EventName, Sink, StormContext

_log = logging.getLogger(__name__)

Shown = Record | StormContext
"""What a client has to be shown when it joins: a zombie or a storm, as last reported."""


@dataclass(slots=True)
class _Client:
    """A sink, and what it has not been shown yet of what was there when it joined."""

    sink: Sink
    replay: dict[Hashable, Shown]


class Audience:
    """Hands the events of a live view to its clients. Implements EventSink.

    A sink that raises is closed and gets no more.
    """

    def __init__(self) -> None:
        self._clients: list[_Client] = []

    def __contains__(self, sink: Sink) -> bool:
        return any(client.sink is sink for client in self._clients)

    def join(self, sink: Sink, started: Event | None, known: Iterable[Shown]) -> None:
        """Add a client.

        Args:
            sink: takes its events.
            started: the first one, agent_started.
            known: what the view has reported and is still there. replay() shows it.
        """
        client = _Client(sink, {_key(shown): shown for shown in known})
        self._clients.append(client)
        if started is not None:
            self._give(client, started)

    def leave(self, sink: Sink) -> None:
        """Remove a client that wants no more."""
        self._clients = [client for client in self._clients if client.sink is not sink]

    def replay(self, now_boot_ns: int, limit: int) -> int:
        """Show clients what was there when they joined; return how many events that took."""
        count = 0
        for client in list(self._clients):
            while client.replay and count < limit:
                shown = client.replay.pop(next(iter(client.replay)))
                self._give(client, _shown(shown, now_boot_ns))
                count += 1
        return count

    @property
    def replaying(self) -> bool:
        """Whether replay() has more to show."""
        return any(client.replay for client in self._clients)

    def emit(self, event: Event) -> None:
        """Hand an event to every client that has to see it."""
        subject = event.record or event.storm
        for client in list(self._clients):
            shown = None if subject is None else client.replay.pop(_key(subject), None)
            if shown is None:
                self._give(client, event)
            elif not _is_over(event):
                self._give(client, _first(event))

    def _give(self, client: _Client, event: Event) -> None:
        try:
            client.sink.emit(event)
        except Exception as error:  # noqa: BLE001 - whatever a client does, the others go on
            _log.warning("a client of --follow is disconnected: its sink failed: %r", error)
            self.leave(client.sink)
            client.replay.clear()
            dismiss(client.sink)


def dismiss(sink: Sink, event: Event | None = None) -> None:
    """Give a sink its last event, if there is one, and close it."""
    try:
        if event is not None:
            sink.emit(event)
        sink.close(0.0)
    except Exception as error:  # noqa: BLE001 - the other clients are still to be dismissed
        _log.warning("a client of --follow could not be disconnected cleanly: %r", error)


def _key(shown: Shown) -> Hashable:
    if isinstance(shown, Record):
        return shown.zombie.child.identity
    return "storm", shown.storm.parent


def _shown(shown: Shown, now_boot_ns: int) -> Event:
    """Return the event that shows what is there now."""
    if isinstance(shown, Record):
        record = replace(shown, age_ns=shown.zombie.age_ns(now_boot_ns))
        return Event(EventName.ZOMBIE_DETECTED, now_boot_ns, record=record)
    return Event(EventName.ZOMBIE_STORM, now_boot_ns, storm=shown)


def _first(event: Event) -> Event:
    """Return an event about a zombie that the client does not know yet as its detection."""
    aged = event.name is EventName.ZOMBIE_AGED
    return replace(event, name=EventName.ZOMBIE_DETECTED) if aged else event


def _is_over(event: Event) -> bool:
    """Return whether the zombie or the storm is gone: who has not seen it needs not hear of it."""
    drained = event.storm is not None and event.storm.storm.phase is StormPhase.DRAINED
    return drained or event.name is EventName.ZOMBIE_REAPED
