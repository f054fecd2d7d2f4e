"""From transitions to events: each zombie gets its pod and its cause, once per transition."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS
from tracer.diagnosis import revise
from tracer.model import (
    Aged,
    Attribution,
    Cause,
    Cgroup,
    Child,
    Detected,
    Identity,
    Process,
    Reaped,
    Record,
    Storm,
    StormChanged,
    StormPhase,
    Transition,
    Waits,
    Zombie,
)
from tracer.model.event import Event, EventName, StormContext
from tracer.procfs.fs import ProcFs
from tracer.procfs.zombie import ZombieView, read_zombie

_log = logging.getLogger(__name__)


class Finding(Protocol):
    """What an investigation brings to light."""

    @property
    def parent(self) -> Process | None:
        """The zombie's parent now."""

    @property
    def waits(self) -> Waits | None:
        """How it waits."""

    @property
    def cause(self) -> Cause:
        """The diagnosis."""


class Investigate(Protocol):
    """Gathers the evidence for one zombie and diagnoses it."""

    def __call__(
        self,
        zombie: Zombie,
        attribution: Attribution | None,
        now_boot_ns: int,
        siblings: int,
        view: ZombieView | None,
    ) -> Finding:
        """Investigate one zombie."""


class _Held(NamedTuple):
    """A detection that waits for its pod to become known."""

    zombie: Zombie
    until_boot_ns: int


@dataclass(slots=True)
class _StormFacts:
    """What was found out about the parent of a storm: once for all its zombies."""

    attribution: Attribution
    parent: Process | None
    cause: Cause | None


class Reporter:
    """Enriches transitions and emits events. Owned by the engine's thread.

    Args:
        proc: for what /proc still says of a zombie.
        attributor: whose it is.
        filters: which zombies are wanted; the others are tracked and not told.
        emit: takes events.
        siblings: how many zombies a parent has.
        hold_ns: how long a detection may wait for its pod's name.
        command_lines: whether records carry the parent's command line.
    """

    def __init__(
        self,
        *,
        proc: ProcFs,
        attributor: Attributor,
        filters: Filters,
        emit: Callable[[Event], None],
        siblings: Callable[[int], int],
        hold_ns: int = NS // 4,
        command_lines: bool = False,
    ) -> None:
        self._proc = proc
        self._attributor = attributor
        self._filters = filters
        self._emit = emit
        self._siblings = siblings
        self._hold_ns = hold_ns
        self._command_lines = command_lines
        self._records: dict[Identity, Record | None] = {}
        self._held: dict[Identity, _Held] = {}
        self._storms: dict[int, _StormFacts | None] = {}
        self.investigate: Investigate | None = None

    def tell(self, transitions: Iterable[Transition], now_boot_ns: int) -> None:
        """Emit what the table says has happened."""
        for transition in transitions:
            match transition:
                case Detected(zombie):
                    self._detected(zombie, now_boot_ns)
                case Aged(zombie, _):
                    self._aged(zombie, now_boot_ns)
                case Reaped(zombie, gone_boot_ns, lifetime_ns):
                    self._reaped(zombie, gone_boot_ns, lifetime_ns)
                case StormChanged(storm):
                    self._storm(storm, now_boot_ns)

    def release(self, now_boot_ns: int, *, everything: bool = False) -> None:
        """Tell the detections whose pod is known now, or has been waited for long enough."""
        for identity, held in list(self._held.items()):
            attribution = self._attribute(held.zombie)
            # Until its pod is known, nobody can say whether a filter by name wants it.
            late = now_boot_ns >= held.until_boot_ns and not self._filters.by_name
            if everything or late or not self._attributor.awaiting_pod(attribution):
                del self._held[identity]
                self._report_detected(held.zombie, attribution, now_boot_ns)

    def next_release_boot_ns(self, now_boot_ns: int) -> int | None:
        """Return when release() is to be called, None when nothing is held."""
        if not self._held:
            return None
        # The index is filled by another thread: looked at in short steps.
        soonest = min(held.until_boot_ns for held in self._held.values())
        step = now_boot_ns + NS // 50
        return step if soonest <= now_boot_ns else min(soonest, step)

    def told(self) -> Iterator[Record]:
        """Yield the records of the zombies that were told and are not reaped."""
        return (record for record in self._records.values() if record is not None)

    def storm_facts(self, parent: Identity) -> _StormFacts | None:
        """Return what is known of a storm's parent; None when filtered out or unknown."""
        return self._storms.get(parent.pid)

    def restore_storm(
        self,
        parent: Identity,
        comm: str | None,  # noqa: ARG002 - for the line of a storm whose parent is dead
        cgroup: Cgroup | None,
        cause: Cause | None,
        now_boot_ns: int,  # noqa: ARG002
    ) -> None:
        """Learn of a storm that an earlier agent reported."""
        stand_in = Child(parent, 0, 0, cgroup=cgroup)
        attribution = self._attributor.attribute(stand_in, None)
        wanted = self._filters.matches(attribution)
        self._storms[parent.pid] = _StormFacts(attribution, None, cause) if wanted else None

    def restore(self, zombie: Zombie, now_boot_ns: int) -> None:
        """Learn of a zombie that an earlier agent told, so that metrics and ages know it."""
        attribution = self._attribute(zombie)
        # At the start no pod may be known by its name yet: _reaped() decides again.
        undecided = self._filters.by_name and attribution.workload is None
        wanted = undecided or self._filters.matches(attribution)
        self._records[zombie.child.identity] = (
            self._record(zombie, attribution, now_boot_ns) if wanted else None
        )

    def _attribute(self, zombie: Zombie) -> Attribution:
        parent_pid = zombie.child.parent_pid
        return self._attributor.attribute(zombie.child, parent_pid if parent_pid > 0 else None)

    def _fresh(self, zombie: Zombie) -> Zombie:
        """Correct the parent: what a source saw at the death may have changed since."""
        stat = self._proc.stat(zombie.child.identity.pid)
        if (
            stat is None
            or stat.start_ticks != zombie.child.identity.start_ticks
            or stat.ppid == zombie.child.parent_pid
        ):
            return zombie
        return replace(zombie, child=replace(zombie.child, parent_pid=stat.ppid))

    def _record(self, zombie: Zombie, attribution: Attribution, now_boot_ns: int) -> Record:
        record = Record(zombie, zombie.age_ns(now_boot_ns), None, None, attribution, None)
        if self.investigate is None:
            return record
        try:
            view = read_zombie(self._proc, zombie.child.identity)
            finding = self.investigate(zombie, attribution, now_boot_ns, zombie.siblings, view)
        except Exception as error:  # noqa: BLE001 - one odd process must not blind a node
            _log.warning("pid %s: no cause: %r", zombie.child.identity.pid, error)
            return record
        command_line = None
        if self._command_lines:
            command_line = " ".join(self._proc.cmdline(zombie.child.parent_pid)) or None
        return replace(
            record,
            parent=finding.parent,
            waits=finding.waits,
            cause=finding.cause,
            command_line=command_line,
        )

    def _detected(self, zombie: Zombie, now_boot_ns: int) -> None:
        zombie = self._fresh(zombie)
        attribution = self._attribute(zombie)
        if self._attributor.awaiting_pod(attribution):
            self._held[zombie.child.identity] = _Held(zombie, now_boot_ns + self._hold_ns)
        else:
            self._report_detected(zombie, attribution, now_boot_ns)

    def _report_detected(self, zombie: Zombie, attribution: Attribution, now_boot_ns: int) -> None:
        identity = zombie.child.identity
        if not self._filters.matches(attribution):
            self._records[identity] = None
            return
        record = self._record(zombie, attribution, now_boot_ns)
        self._records[identity] = record
        self._emit(Event(EventName.ZOMBIE_DETECTED, now_boot_ns, record=record))

    def _aged(self, zombie: Zombie, now_boot_ns: int) -> None:
        identity = zombie.child.identity
        self._release_one(identity, now_boot_ns)
        stat = self._proc.stat(identity.pid)
        if stat is None or stat.start_ticks != identity.start_ticks:
            return  # reaped unseen (a full map): the next snapshot will tell that
        zombie = self._fresh(zombie)
        zombie = replace(zombie, siblings=self._siblings(zombie.child.parent_pid) - 1)
        attribution = self._attribute(zombie)
        if not self._filters.matches(attribution):
            self._records[identity] = None
            return
        record = self._record(zombie, attribution, now_boot_ns)
        self._records[identity] = record
        self._emit(Event(EventName.ZOMBIE_AGED, now_boot_ns, record=record))

    def _reaped(self, zombie: Zombie, gone_boot_ns: int, lifetime_ns: int) -> None:
        identity = zombie.child.identity
        self._release_one(identity, gone_boot_ns)
        if identity in self._records:
            record = self._records.pop(identity)
        else:
            attribution = self._attribute(zombie)
            wanted = self._filters.matches(attribution)
            record = Record(zombie, 0, None, None, attribution, None) if wanted else None
        if record is None:
            return
        record = self._with_pod(record)
        if record.attribution.workload is not None and not self._filters.matches(
            record.attribution
        ):
            return
        record = self._in_hindsight(record, lifetime_ns)
        record = replace(record, age_ns=lifetime_ns, lifetime_ns=lifetime_ns)
        self._emit(Event(EventName.ZOMBIE_REAPED, gone_boot_ns, record=record))

    def _in_hindsight(self, record: Record, lifetime_ns: int) -> Record:
        """Correct the cause if its parent lives: then that has reaped it."""
        parent, cause = record.parent, record.cause
        stat = self._proc.stat(parent.identity.pid) if parent and cause else None
        if parent is None or cause is None or stat is None or stat.is_zombie:
            return record
        if stat.start_ticks != parent.identity.start_ticks:
            return record
        return replace(record, cause=revise.reaped_by(parent, cause, lifetime_ns))

    def _with_pod(self, record: Record) -> Record:
        """Complete the pod's names, if they came after the detection was told."""
        container = record.attribution.container
        if record.attribution.workload is not None or container is None:
            return record
        return replace(record, attribution=self._attribute(record.zombie))

    def _release_one(self, identity: Identity, now_boot_ns: int) -> None:
        held = self._held.pop(identity, None)
        if held is not None:
            self._report_detected(held.zombie, self._attribute(held.zombie), now_boot_ns)

    def _storm(self, storm: Storm, now_boot_ns: int) -> None:
        counter = self._investigate_storm(storm, now_boot_ns)
        self._storms[storm.parent_pid] = counter
        if counter is not None:
            context = StormContext(storm, counter.parent, counter.attribution, counter.cause)
            self._emit(Event(EventName.ZOMBIE_STORM, now_boot_ns, storm=context))
        if storm.phase is StormPhase.DRAINED:
            del self._storms[storm.parent_pid]

    def _investigate_storm(self, storm: Storm, now_boot_ns: int) -> _StormFacts | None:
        """Look at one sample; its parent stands for the storm. None when it is not wanted."""
        known = self._storms.get(storm.parent_pid)
        if storm.phase is StormPhase.DRAINED:
            return known
        for sample in storm.samples:
            stat = self._proc.stat(sample.child.identity.pid)
            if stat is None or stat.start_ticks != sample.child.identity.start_ticks:
                continue  # that one is reaped
            zombie = self._fresh(replace(sample, siblings=storm.zombies - 1))
            attribution = self._attribute(zombie)
            if not self._filters.matches(attribution):
                return None
            record = self._record(zombie, attribution, now_boot_ns)
            return _StormFacts(attribution, record.parent, record.cause)
        if known is not None:
            return known
        attribution = self._attributor.attribute_process(storm.parent_pid)
        if not self._filters.matches(attribution):
            return None
        return _StormFacts(attribution, self._proc.process(storm.parent_pid), None)
