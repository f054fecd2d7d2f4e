"""A client of the live view: takes events from the engine, renders them in the server's thread."""

from collections import deque
from threading import Lock
from typing import Protocol

from tracer.agent.serve.client import TOO_SLOW, Client
from tracer.agent.serve.request import parse_columns
from tracer.attribution.filters import Filters
from tracer.errors import CANNOT_RUN_STATUS
from tracer.model import Identity
from tracer.model.event import Event, EventName, Sink

EVENTS_WAITING = 4_000
"""Events that wait for a slow client; a live view lists at most half as many zombies."""
_RENDERED_BYTES = 64 << 10
"""Output that is rendered ahead."""
_REMEMBERED = 20_000

_AGENT_ENDED = (
    "tracer: error: the agent has ended, and this view with it; run the command again when the"
    " agent runs\n"
)


class Subscription(Protocol):
    """A place in the engine's live views."""

    def close(self) -> None:
        """Want no more events."""


class Followers(Protocol):
    """The engine's live views."""

    def subscribe(self, min_age_ns: int, sink: Sink) -> Subscription:
        """Have the sink get what is there, and then what happens."""


class View(Protocol):
    """Turns events into text."""

    def render(self, event: Event) -> str:
        """Return the text of an event; empty for none."""

    def resize(self, columns: int) -> None:
        """Use another width."""


class LiveClient:
    """Shows one client what happens. Implements Sink.

    Args:
        client: whose request this is.
        view: renders for it.
        filters: which zombies it wants to see.
    """

    def __init__(self, client: Client, view: View, filters: Filters) -> None:
        self._client = client
        self._view = view
        self._filters = filters
        self._shown = set[Identity]()
        self._lock = Lock()
        self._events: deque[Event] = deque()
        self._closed = False
        self._overflowed = False
        self._subscription: Subscription | None = None

    def follow(self, followers: Followers, min_age_ns: int) -> None:
        """Begin.

        Raises:
            TemporaryError: the agent serves as many clients or minimum ages as it can.
        """
        self._client.on_gone = self._leave
        self._client.on_line = self._resize
        subscription = followers.subscribe(min_age_ns, self)
        with self._lock:
            self._subscription = subscription
        self._client.on_room = self._fill
        self._client.wake()  # the engine may have queued events meanwhile
        if self._client.gone:  # perhaps before there was a subscription to close
            self._leave()

    # --- the engine's thread -------------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Queue an event. A client for which too many wait is disconnected."""
        if not self._wants(event):
            return
        with self._lock:
            if len(self._events) >= EVENTS_WAITING:
                self._overflowed = True
            else:
                self._events.append(event)
        self._client.wake()

    def dropped(self) -> int:
        """Return 0: a client that would miss an event is disconnected."""
        return 0

    def close(self, timeout_seconds: float) -> None:
        """Note that no more events will come. Never waits."""
        del timeout_seconds
        with self._lock:
            self._closed = True
        self._client.wake()

    def _wants(self, event: Event) -> bool:
        """Return whether the filters accept an event; the end of what was shown is shown, too."""
        if event.storm is not None:
            return self._filters.matches(event.storm.attribution)
        if event.record is None:
            return True
        identity = event.record.zombie.child.identity
        if event.name is EventName.ZOMBIE_REAPED and self._filters.any:
            known = identity in self._shown
            self._shown.discard(identity)
            return known
        if not self._filters.matches(event.record.attribution):
            return False
        if self._filters.any and len(self._shown) < _REMEMBERED:
            self._shown.add(identity)
        return True

    # --- the server's thread -------------------------------------------------------------

    def _fill(self) -> None:
        """Render while there is room for it."""
        if self._overflowed:
            self._client.end(CANNOT_RUN_STATUS, error=TOO_SLOW)
            return
        while self._client.waiting_bytes() < _RENDERED_BYTES:
            with self._lock:
                event = self._events.popleft() if self._events else None
                ended = self._closed and event is None
            if ended:
                self._client.end(CANNOT_RUN_STATUS, error=_AGENT_ENDED)
                return
            if event is None:
                return
            text = self._view.render(event)
            if text:
                self._client.out(text, wait=False)

    def _resize(self, line: bytes) -> None:
        columns = parse_columns(line)
        if columns is not None:
            self._view.resize(columns)

    def _leave(self) -> None:
        with self._lock:
            subscription, self._subscription = self._subscription, None
            self._events.clear()
        if subscription is not None:
            subscription.close()
