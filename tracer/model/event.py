"""What the engine hands to sinks: one type for the log, the live view and the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from tracer.model import Attribution, Cause, Process, Record, Storm


class EventName(StrEnum):
    """The closed list of `event` in the contract."""

    AGENT_STARTED = "agent_started"
    AGENT_STOPPED = "agent_stopped"
    ZOMBIE_DETECTED = "zombie_detected"
    ZOMBIE_AGED = "zombie_aged"
    ZOMBIE_REAPED = "zombie_reaped"
    ZOMBIE_STORM = "zombie_storm"
    PIDS_PRESSURE = "pids_pressure"
    SOURCE_CHANGED = "source_changed"
    KUBERNETES_CHANGED = "kubernetes_changed"
    SUMMARY = "summary"


LEVELS: Mapping[EventName, str] = {
    EventName.AGENT_STARTED: "info",
    EventName.AGENT_STOPPED: "info",
    EventName.ZOMBIE_DETECTED: "warning",
    EventName.ZOMBIE_AGED: "warning",
    EventName.ZOMBIE_REAPED: "info",
    EventName.ZOMBIE_STORM: "error",
    EventName.PIDS_PRESSURE: "error",
    EventName.SOURCE_CHANGED: "error",
    EventName.KUBERNETES_CHANGED: "warning",
    EventName.SUMMARY: "info",
}
"""Log level of each event, as the contract has it."""


@dataclass(frozen=True, slots=True)
class StormContext:
    """A storm with what is known of its parent, gathered once for all its zombies.

    Attributes:
        storm: the numbers.
        parent: its parent, as last read while it lived.
        attribution: the container of its zombies; empty when they are in several pods.
        cause: the diagnosis.
        parent_gone: the parent has died.
    """

    storm: Storm
    parent: Process | None
    attribution: Attribution
    cause: Cause | None
    parent_gone: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        name: its kind.
        at_boot_ns: when it happened.
        record: for zombie_detected, zombie_aged and zombie_reaped.
        storm: for zombie_storm.
        fields: the rest of the document for all other events, nested as it is logged
            (`{"source": {"name": "core"}}`).
        level: instead of the level that events of this name usually have.
        step_ns: for zombie_aged, the age that it reports: a minute, ten, an hour, a day.
        repeated: an earlier agent may have written this line, and ended before it knew.
    """

    name: EventName
    at_boot_ns: int
    record: Record | None = None
    storm: StormContext | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    level: str | None = None
    step_ns: int | None = None
    repeated: bool = False

    @property
    def severity(self) -> str:
        """Its log level: info, warning or error."""
        return self.level or LEVELS[self.name]


class Sink(Protocol):
    """Takes events. emit() returns at once: a slow sink queues or drops, and counts drops."""

    def emit(self, event: Event) -> None:
        """Take one event. Called from the engine's thread only."""

    def dropped(self) -> int:
        """Return how many events were dropped since the start."""

    def close(self, timeout_seconds: float) -> None:
        """Write out what is queued, for at most so long, and stop."""
