"""From transitions to events: each zombie gets its pod and its cause, once per transition."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

from tracer.agent.record import Investigator, RecordMaker
from tracer.agent.storm_reporter import StormReporter
from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS
from tracer.diagnosis import revise
from tracer.model import (
    Aged,
    Attribution,
    Cause,
    Cgroup,
    Detected,
    Identity,
    Reaped,
    Record,
    Storm,
    StormChanged,
    StormFacts,
    Transition,
    Zombie,
)
from tracer.model.event import Event, EventName
from tracer.procfs.fs import ProcFs
from tracer.procfs.zombie import ZombieView


class EventSink(Protocol):
    """Takes events."""

    def emit(self, event: Event) -> None:
        """Take one event; never raises."""


class _Held(NamedTuple):
    """A detection that waits for its pod to become known."""

    zombie: Zombie
    view: ZombieView | None
    until_boot_ns: int


class Reporter:
    """Enriches transitions and emits events. Owned by the engine's thread.

    Args:
        proc: where zombies and parents are read.
        attributor: finds container and pod.
        filters: which zombies are reported; the others are only kept in the table.
        investigator: diagnoses zombies.
        sink: takes the events.
        siblings: returns how many zombies a parent (pid) has.
        hold_ns: how long a detection may wait for its pod's name.
        command_lines: whether records carry the parent's command line.
    """

    def __init__(
        self,
        *,
        proc: ProcFs,
        attributor: Attributor,
        filters: Filters,
        investigator: Investigator,
        sink: EventSink,
        siblings: Callable[[int], int],
        hold_ns: int = NS // 4,
        command_lines: bool = False,
    ) -> None:
        self._attributor = attributor
        self._filters = filters
        self._sink = sink
        self._siblings = siblings
        self._hold_ns = hold_ns
        self._maker = RecordMaker(proc, attributor, investigator, command_lines=command_lines)
        self._storms = StormReporter(attributor, filters, self._maker)
        self._records: dict[Identity, Record | None] = {}
        self._held: dict[Identity, _Held] = {}

    def report(self, transitions: Iterable[Transition], now_boot_ns: int) -> None:
        """Emit an event for each transition that the filters accept.

        Raises:
            OSError, TemporaryError: something cannot be read now; nothing was emitted for the
                transition that raised, and it may be reported again.
        """
        for transition in transitions:
            match transition:
                case Detected(zombie):
                    self._detected(zombie, now_boot_ns)
                case Aged(zombie, step_ns):
                    self._aged(zombie, step_ns, now_boot_ns)
                case Reaped(zombie, gone_boot_ns, lifetime_ns):
                    self._reaped(zombie, gone_boot_ns, lifetime_ns)
                case StormChanged(storm):
                    self._storm(storm, now_boot_ns)

    def release(self, now_boot_ns: int, *, everything: bool = False) -> None:
        """Report the held detections whose pod is known now, or has been awaited long enough."""
        for identity, held in list(self._held.items()):
            # Until its pod is known, nothing shows whether a filter by name accepts it.
            late = now_boot_ns >= held.until_boot_ns and not self._filters.by_name
            if everything or late or not self._awaited(held):
                self._release_one(identity, now_boot_ns)

    def next_release_boot_ns(self, now_boot_ns: int) -> int | None:
        """Return when release() is to be called, None when nothing is held."""
        if not self._held:
            return None
        # Another thread fills the pod index, so it is asked in short steps.
        soonest = min(held.until_boot_ns for held in self._held.values())
        step = now_boot_ns + NS // 50
        return step if soonest <= now_boot_ns else min(soonest, step)

    def records(self) -> Iterator[Record]:
        """Yield the records of the zombies that were reported and are not reaped."""
        for identity, record in self._records.items():
            if record is not None:
                if self._attributor.awaiting_pod(record.attribution):
                    self._records[identity] = self._with_pod(record)
                yield self._records[identity] or record

    def storm_facts(self, parent: Identity) -> StormFacts | None:
        """Return what is known of a storm; None when it is unknown or the filters reject it."""
        return self._storms.facts(parent)

    def restore(self, zombie: Zombie, now_boot_ns: int) -> None:
        """Take over a zombie that an earlier agent reported, so that metrics and ages know it."""
        zombie, view = self._maker.read(zombie)
        attribution = self._maker.attribute(zombie, view)
        # At the start no pod may be known by its name yet: _reaped() decides again.
        undecided = self._filters.by_name and attribution.workload is None
        wanted = undecided or self._filters.matches(attribution)
        self._records[zombie.child.identity] = (
            self._maker.investigate(zombie, view, attribution, now_boot_ns) if wanted else None
        )

    def restore_storm(
        self,
        parent: Identity,
        comm: str | None,
        cgroup: Cgroup | None,
        cause: Cause | None,
    ) -> None:
        """Take over a storm that an earlier agent reported, so that its zombies are counted.

        A diagnosis of now comes with the storm's next report.

        Args:
            parent: its parent; it may have died since.
            comm: the name of the parent; None when unknown.
            cgroup: by which the storm was attributed; None when there was no single one.
            cause: the last diagnosis; None when there was none.
        """
        self._storms.restore(parent, comm, cgroup, cause)

    def _awaited(self, held: _Held) -> bool:
        attribution = self._maker.attribute(held.zombie, held.view)
        return self._attributor.awaiting_pod(attribution)

    def _detected(self, zombie: Zombie, now_boot_ns: int) -> None:
        zombie, view = self._maker.read(zombie)
        attribution = self._maker.attribute(zombie, view)
        if self._attributor.awaiting_pod(attribution):
            until = now_boot_ns + self._hold_ns
            self._held[zombie.child.identity] = _Held(zombie, view, until)
        else:
            self._emit(EventName.ZOMBIE_DETECTED, zombie, view, attribution, now_boot_ns)

    def _release_one(self, identity: Identity, now_boot_ns: int) -> None:
        held = self._held.get(identity)
        if held is not None:
            # Read again: what is reported is how things are now.
            zombie, view = self._maker.read(held.zombie)
            attribution = self._maker.attribute(zombie, view)
            self._emit(EventName.ZOMBIE_DETECTED, zombie, view, attribution, now_boot_ns)
            del self._held[identity]

    def _aged(self, zombie: Zombie, step_ns: int, now_boot_ns: int) -> None:
        self._release_one(zombie.child.identity, now_boot_ns)
        zombie, view = self._maker.read(zombie)
        if view is None:
            return  # reaped unseen (a full map): the next snapshot finds that
        attribution = self._maker.attribute(zombie, view)
        self._emit(EventName.ZOMBIE_AGED, zombie, view, attribution, now_boot_ns, step_ns)

    def _emit(
        self,
        name: EventName,
        zombie: Zombie,
        view: ZombieView | None,
        attribution: Attribution,
        now_boot_ns: int,
        step_ns: int | None = None,
    ) -> None:
        """Diagnose a zombie and emit its event, if the filters accept it."""
        identity = zombie.child.identity
        if not self._filters.matches(attribution):
            self._records[identity] = None
            return
        # Counted now: when the table detected it, others of the same moment were still to come.
        siblings = max(0, self._siblings(zombie.child.parent_pid) - 1)
        zombie = replace(zombie, siblings=siblings)
        record = self._maker.investigate(zombie, view, attribution, now_boot_ns)
        self._records[identity] = record
        self._sink.emit(Event(name, now_boot_ns, record=record, step_ns=step_ns))

    def _reaped(self, zombie: Zombie, gone_boot_ns: int, lifetime_ns: int) -> None:
        identity = zombie.child.identity
        self._release_one(identity, gone_boot_ns)
        record = self._last_record(zombie, lifetime_ns)
        # Only now: what is read for it may raise, and the caller then reports this again.
        self._records.pop(identity, None)
        if record is not None:
            record = replace(record, age_ns=lifetime_ns, lifetime_ns=lifetime_ns)
            self._sink.emit(Event(EventName.ZOMBIE_REAPED, gone_boot_ns, record=record))

    def _last_record(self, zombie: Zombie, lifetime_ns: int) -> Record | None:
        """Return the record of a reaped zombie; None when the filters reject it."""
        identity = zombie.child.identity
        if identity in self._records:
            record = self._records[identity]
        else:
            attribution = self._maker.attribute(zombie, None)
            wanted = self._filters.matches(attribution)
            record = Record(zombie, 0, None, None, attribution, None) if wanted else None
        if record is None:
            return None
        record = self._with_pod(record)
        if record.attribution.workload is not None and not self._filters.matches(
            record.attribution
        ):
            return None
        return self._revised(record, lifetime_ns)

    def _revised(self, record: Record, lifetime_ns: int) -> Record:
        """Correct the cause if the parent is alive: then that has reaped the zombie."""
        parent, cause = record.parent, record.cause
        if parent is None or cause is None or not self._maker.lives(parent.identity):
            return record
        return replace(record, cause=revise.reaped_by(parent, cause, lifetime_ns))

    def _with_pod(self, record: Record) -> Record:
        """Add the pod's names, if they became known after the detection was reported."""
        attribution = record.attribution
        if attribution.workload is not None or attribution.container is None:
            return record
        return replace(record, attribution=self._attributor.attribute_cgroup(attribution.cgroup))

    def _storm(self, storm: Storm, now_boot_ns: int) -> None:
        context = self._storms.report(storm, now_boot_ns)
        if context is not None:
            self._sink.emit(Event(EventName.ZOMBIE_STORM, now_boot_ns, storm=context))
