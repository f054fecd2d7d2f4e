"""One sink in front of all others: what one of them does wrong is kept from the rest."""

import logging
from collections.abc import Sequence

from tracer.model.event import Event, Sink

_log = logging.getLogger(__name__)

_FAILURES_LOGGED = 64
"""Distinct failures that are logged; a sink that fails in ever new ways is only counted."""


class Fanout:
    """Hands each event to every sink. Implements Sink.

    A sink that raises is counted as having dropped the event. Each distinct failure is
    logged once.

    Args:
        sinks: where events go, in this order.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._failed = 0
        self._logged: set[str] = set()

    def emit(self, event: Event) -> None:
        """Hand one event to every sink."""
        for sink in self._sinks:
            try:
                sink.emit(event)
            except Exception as error:  # noqa: BLE001 - whatever a sink does, detection goes on
                self._failed += 1
                self._log_once(sink, error)

    def dropped(self) -> int:
        """Return how many events were dropped by the sinks, or made one of them fail."""
        return self._failed + sum(sink.dropped() for sink in self._sinks)

    def close(self, timeout_seconds: float) -> None:
        """Close every sink; each may take that long."""
        for sink in self._sinks:
            try:
                sink.close(timeout_seconds)
            except Exception as error:  # noqa: BLE001 - the other sinks still have lines to write
                self._log_once(sink, error)

    def _log_once(self, sink: Sink, error: Exception) -> None:
        failure = f"{type(sink).__name__} failed: {error!r}"
        if failure not in self._logged and len(self._logged) < _FAILURES_LOGGED:
            self._logged.add(failure)
            _log.warning("%s; detection goes on without it", failure)
