"""Who follows this agent: kept for the threads that serve clients, and for the engine's."""

from collections.abc import Callable
from threading import Lock

from tracer.durations import exact_duration
from tracer.errors import TemporaryError
from tracer.model.event import Sink

MOST_AGES = 4
MOST_CLIENTS = 16


class Subscription:
    """One client of a live view. Any thread may close it.

    Attributes:
        min_age_ns: younger zombies are not shown.
        sink: takes the events, in the engine's thread.
    """

    def __init__(self, subscriptions: "Subscriptions", min_age_ns: int, sink: Sink) -> None:
        self.min_age_ns = min_age_ns
        self.sink = sink
        self._subscriptions = subscriptions

    @property
    def closed(self) -> bool:
        """Whether the client wants no more, or its view has failed."""
        return self not in self._subscriptions.current()

    def close(self) -> None:
        """Want no more events; one may still come meanwhile. A second call does nothing."""
        self._subscriptions.remove(self)


class Subscriptions:
    """All clients, within bounds. Thread-safe; nothing here waits.

    Args:
        wake: ends the engine's sleep.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = Lock()
        self._current: tuple[Subscription, ...] = ()
        self._over = False

    def subscribe(self, min_age_ns: int, sink: Sink) -> Subscription:
        """Add a client.

        Raises:
            TemporaryError: there are as many clients or minimum ages as can be, or the agent ends.
        """
        subscription = Subscription(self, min_age_ns, sink)
        with self._lock:
            self._check(min_age_ns)
            self._current += (subscription,)
        self._wake()
        return subscription

    def _check(self, min_age_ns: int) -> None:
        if self._over:
            raise TemporaryError("the agent is stopping; run the command again in a moment")
        if len(self._current) >= MOST_CLIENTS:
            raise TemporaryError(
                f"{MOST_CLIENTS} clients follow this agent already, and it serves no more;"
                " end one of them, then run the command again"
            )
        ages = {subscription.min_age_ns for subscription in self._current}
        if min_age_ns not in ages and len(ages) >= MOST_AGES:
            used = ", ".join(exact_duration(age) for age in sorted(ages))
            raise TemporaryError(
                f"clients follow this agent with {MOST_AGES} minimum ages already, and it serves"
                f" no more: use --min-age with one of {used}"
            )

    def remove(self, subscription: Subscription) -> None:
        """Remove a client, if it is here."""
        with self._lock:
            self._current = tuple(each for each in self._current if each is not subscription)
        self._wake()

    def current(self) -> tuple[Subscription, ...]:
        """Return the clients, in the order in which they came."""
        return self._current

    def end(self) -> tuple[Subscription, ...]:
        """Remove and return all clients, and accept no more."""
        with self._lock:
            self._over = True
            ended, self._current = self._current, ()
        return ended
