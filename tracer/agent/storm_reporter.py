"""What is known of each storm: gathered from a few of its zombies, for all of them."""

from dataclasses import dataclass, replace

from tracer.agent.record import RecordMaker
from tracer.attribution.attributor import Attributor, shared
from tracer.attribution.filters import Filters
from tracer.model import (
    UNKNOWN_TICKS,
    Attribution,
    Cause,
    Cgroup,
    Identity,
    Process,
    Storm,
    StormFacts,
    StormPhase,
)
from tracer.model.event import StormContext


@dataclass(frozen=True, slots=True)
class _Known:
    """The facts of one storm.

    Attributes:
        attributions: of the samples; several where pods share a PID namespace.
        parent: as last read.
        cause: of the first sample.
        parent_gone: it has died.
    """

    attributions: tuple[Attribution, ...] = ()
    parent: Process | None = None
    cause: Cause | None = None
    parent_gone: bool = False


class StormReporter:
    """Keeps the facts of every storm, by its parent.

    Args:
        attributor: finds container and pod.
        filters: which storms are reported.
        records: reads parents, and reads and diagnoses samples.
    """

    def __init__(self, attributor: Attributor, filters: Filters, records: RecordMaker) -> None:
        self._attributor = attributor
        self._filters = filters
        self._records = records
        self._known: dict[Identity, _Known] = {}

    def report(self, storm: Storm, now_boot_ns: int) -> StormContext | None:
        """Bring the facts of a storm up to date; None when the filters reject it."""
        self._known[storm.parent] = self._gather(storm, now_boot_ns)
        facts = self.facts(storm.parent)
        drained = storm.phase is StormPhase.DRAINED
        if drained:
            del self._known[storm.parent]
        if facts is None:
            return None
        cause = facts.cause
        if facts.parent_gone and not drained:
            # Its zombies are another process's now, and so is the reason why they stay.
            cause = None
        return StormContext(storm, facts.parent, facts.attribution, cause, facts.parent_gone)

    def facts(self, parent: Identity) -> StormFacts | None:
        """Return what is known of a storm; None when it is unknown or the filters reject it."""
        known = self._known.get(parent)
        if known is None:
            return None
        # Names of pods may have come since.
        attributions = tuple(
            self._attributor.attribute_cgroup(each.cgroup)
            if each.workload is None and each.cgroup is not None
            else each
            for each in known.attributions
        ) or (Attribution(),)
        if not any(self._passes(attribution) for attribution in attributions):
            return None
        return StormFacts(shared(attributions), known.parent, known.cause, known.parent_gone)

    def restore(
        self, parent: Identity, comm: str | None, cgroup: Cgroup | None, cause: Cause | None
    ) -> None:
        """Take over what an earlier agent knew of a storm.

        Args:
            parent: its parent; it may have died since.
            comm: the name of the parent.
            cgroup: by which the storm was attributed; None when its zombies were in several.
            cause: the last diagnosis.
        """
        process = self._records.process(parent)
        gone = process is None and parent.start_ticks != UNKNOWN_TICKS
        if process is None and comm is not None:
            process = Process(parent, comm, state="X", parent_pid=0)
        attribution = self._attributor.attribute_cgroup(cgroup)
        self._known[parent] = _Known((attribution,), process, cause, gone)

    def _passes(self, attribution: Attribution) -> bool:
        """Return whether the filters accept it, or may do so once its pod's name is known."""
        undecided = self._filters.by_name and self._attributor.awaiting_pod(attribution)
        return undecided or self._filters.matches(attribution)

    def _gather(self, storm: Storm, now_boot_ns: int) -> _Known:
        known = self._known.get(storm.parent, _Known())
        parent = self._records.process(storm.parent)
        drained = storm.phase is StormPhase.DRAINED
        if parent is None and storm.parent.start_ticks != UNKNOWN_TICKS:
            return replace(known, parent_gone=True)
        if drained:
            return replace(known, parent=parent or known.parent)
        found = self._from_samples(storm, now_boot_ns)
        if found is not None:
            return found
        attributions = known.attributions or (self._records.attribute_process(storm.parent),)
        return _Known(attributions, parent, known.cause)

    def _from_samples(self, storm: Storm, now_boot_ns: int) -> _Known | None:
        """Attribute the samples, and diagnose the first; None when none is left."""
        attributions: list[Attribution] = []
        record = None
        for sample in storm.samples:
            zombie, view = self._records.read(replace(sample, siblings=storm.zombies - 1))
            if view is None or view.stat.ppid != storm.parent.pid:
                continue  # reaped, or its parent has just died
            attribution = self._records.attribute(zombie, view)
            attributions.append(attribution)
            if record is None:
                record = self._records.investigate(zombie, view, attribution, now_boot_ns)
        if record is None:
            return None
        return _Known(tuple(attributions), record.parent, record.cause)
