"""Live views: clients that watch what the agent sees, each with a minimum age of its own."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from tracer.agent.age_gate import AgeGate
from tracer.agent.audience import dismiss
from tracer.agent.follower import AgentView, Follower, Looking, MakePipeline
from tracer.agent.subscriptions import Subscription, Subscriptions
from tracer.clock import NS, boot_ns
from tracer.durations import exact_duration
from tracer.errors import classified, internal_error
from tracer.model import Observation
from tracer.model.event import Event, EventName, Sink
from tracer.table.table import Table

LOWEST_SOURCE_AGE_NS = NS
"""For a client the source reports children from this age on at the earliest."""
EVENTS_A_ROUND = 256
"""Events that all live views together report in one round of the engine."""

_log = logging.getLogger(__name__)


class AgedSource(Looking, Protocol):
    """The source in use, as far as live views change and read it."""

    problem: str | None

    def set_min_age(self, min_age_ns: int) -> None:
        """Report children from that age on."""


class Followers:
    """All live views of an agent.

    subscribe() and Subscription.close() may be called by any thread and return at once;
    everything else is the engine's. Clients with the same minimum age share a view.
    A view that fails ends with its clients, never the agent.

    Args:
        min_age_ns: the agent's own.
        make: makes the table and the reporter of a view.
        gate: holds back for the agent's own table what the source reports for a view.
        wake: ends the engine's sleep.
    """

    def __init__(
        self, min_age_ns: int, make: MakePipeline, gate: AgeGate, wake: Callable[[], None]
    ) -> None:
        self.gate = gate
        self._min_age_ns = min_age_ns
        self._source_age_ns: int | None = min_age_ns
        self._make = make
        self._subscriptions = Subscriptions(wake)
        self._views: dict[int, Follower] = {}
        self._joined: dict[Subscription, Follower] = {}
        self._started: Event | None = None

    # --- any thread ----------------------------------------------------------------------

    def subscribe(self, min_age_ns: int, sink: Sink) -> Subscription:
        """Have the sink get agent_started, the zombies that are there, then what happens.

        The sink gets agent_stopped, of level error, when its view or the agent fails, and is
        closed when its view or the agent ends.

        Raises:
            TemporaryError: the agent serves as many clients or minimum ages as it can, or ends.
        """
        return self._subscriptions.subscribe(min_age_ns, sink)

    # --- the engine's thread -------------------------------------------------------------

    def admit(self, source: AgedSource, table: Table, now_boot_ns: int) -> None:
        """Take in and let go of clients, and have the source report as early as they want.

        Args:
            source: in use; it is polled next.
            table: the agent's own.
            now_boot_ns: now.
        """
        self._forget_failed_sinks()
        wanted = self._subscriptions.current()
        for subscription in self._joined.keys() - set(wanted):
            self._joined.pop(subscription).audience.leave(subscription.sink)
        for age in self._views.keys() - {subscription.min_age_ns for subscription in wanted}:
            del self._views[age]
        for subscription in wanted:
            if subscription not in self._joined and not subscription.closed:
                self._join(subscription, table, now_boot_ns)
        self._set_source_age(source)

    def _forget_failed_sinks(self) -> None:
        for subscription, view in list(self._joined.items()):
            if subscription.sink not in view.audience:
                del self._joined[subscription]
                subscription.close()

    def _join(self, subscription: Subscription, table: Table, now_boot_ns: int) -> None:
        age = subscription.min_age_ns
        try:
            view = self._views.get(age)
            if view is None:
                view = Follower(age, self._make, AgentView(table, self.gate))
                self._views[age] = view
            self._joined[subscription] = view
            view.join(subscription.sink, self._agent_started(age), now_boot_ns)
        except Exception as error:  # noqa: BLE001 - reported to the clients of this view
            self._fail(age, error)

    def _set_source_age(self, source: AgedSource) -> None:
        lowest = min(self._views, default=self._min_age_ns)
        age = min(self._min_age_ns, max(lowest, LOWEST_SOURCE_AGE_NS))
        if age == self._source_age_ns:
            return
        self.gate.lowered = True
        self._source_age_ns = None  # until it is known
        try:
            source.set_min_age(age)
        except Exception as error:  # noqa: BLE001 - the agent sees zombies at its own age anyway
            for failed in list(self._views):
                self._fail(failed, error)
            return  # the next round sets the agent's own
        self._source_age_ns = age
        self.gate.lowered = age < self._min_age_ns

    def observed(self, observations: Sequence[Observation]) -> None:
        """Queue for every view what the source has reported."""
        for view in self._views.values():
            view.take(observations)

    def compared(self) -> None:
        """Note that the agent's own table was compared with a snapshot."""
        for view in self._views.values():
            view.want_look()

    def work(self, source: AgedSource) -> None:
        """Do what is due: a bounded part, after the agent has reported its own."""
        may_look = source.problem is None
        for age, view in list(self._views.items()):
            try:
                if may_look and view.look_due(boot_ns()):
                    may_look = False  # another view has its turn in the next round
                    view.look(source, boot_ns())
                view.work(boot_ns(), EVENTS_A_ROUND // len(self._views))
            except Exception as error:  # noqa: BLE001 - reported to the clients of this view
                self._fail(age, error)

    def next_due_boot_ns(self, source: AgedSource, now_boot_ns: int) -> int | None:
        """Return when work() is to be called; None when nothing is to come."""
        may_look = source.problem is None
        dues = [
            view.next_due_boot_ns(now_boot_ns, may_look=may_look) for view in self._views.values()
        ]
        return min((due for due in dues if due is not None), default=None)

    def announce(self, event: Event) -> None:
        """Pass on what the agent says about itself, as far as it concerns live views."""
        match event.name:
            case EventName.AGENT_STARTED:
                self._started = event
            case EventName.SOURCE_CHANGED | EventName.KUBERNETES_CHANGED:
                self._note_source(event)
                for view in self._views.values():
                    view.audience.emit(event)
            case EventName.AGENT_STOPPED:
                self.close(event)

    def close(self, event: Event | None = None) -> None:
        """End every client, with a last event. A second call does nothing."""
        ended = self._subscriptions.end()
        for view in self._views.values():
            try:
                view.finish(boot_ns())
            except Exception as error:  # noqa: BLE001 - the clients still learn of the end
                _log.warning("a live view could not report everything before its end: %r", error)
        self._views.clear()
        self._joined.clear()
        for subscription in ended:
            dismiss(subscription.sink, event)

    def _agent_started(self, min_age_ns: int) -> Event | None:
        """Return the first event of a client: what the agent said at its start, if true now."""
        if self._started is None:
            return None
        age = {"min_age_seconds": min_age_ns / NS, "min_age": exact_duration(min_age_ns)}
        settings = {**_mapping(self._started.fields.get("settings")), **age}
        return replace(self._started, fields={**self._started.fields, "settings": settings})

    def _note_source(self, event: Event) -> None:
        source = _mapping(event.fields.get("source"))
        if self._started is not None and source.get("name") != source.get("previous"):
            now = {"name": source.get("name"), "reason": source.get("reason")}
            self._started = replace(self._started, fields={**self._started.fields, "source": now})

    def _fail(self, min_age_ns: int, error: Exception) -> None:
        """End a view and its clients."""
        reason = (
            f"this live view ended: {classified(error) or internal_error(error)};"
            " the agent goes on, run the command again"
        )
        _log.warning("%s", reason)
        event = Event(
            EventName.AGENT_STOPPED, boot_ns(), fields={"source": {"reason": reason}}, level="error"
        )
        self._views.pop(min_age_ns, None)
        for subscription in self._subscriptions.current():
            if subscription.min_age_ns == min_age_ns:
                subscription.close()
                self._joined.pop(subscription, None)
                dismiss(subscription.sink, event)


class WithFollowers:
    """What the agent says about itself goes to its log, and to live views. Implements Sink.

    Args:
        log: the agent's own sinks.
        followers: the live views.
    """

    def __init__(self, log: Sink, followers: Followers) -> None:
        self._log = log
        self._followers = followers

    def emit(self, event: Event) -> None:
        """Take an event: the log comes first."""
        self._log.emit(event)
        self._followers.announce(event)

    def dropped(self) -> int:
        """Return how many events the log dropped."""
        return self._log.dropped()

    def close(self, timeout_seconds: float) -> None:
        """Close the log."""
        self._log.close(timeout_seconds)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
