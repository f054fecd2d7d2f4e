"""Gathers what `tracer explain` prints: a snapshot, a time of watching, another snapshot."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracer.attribution.attributor import Attributor
from tracer.clock import NS, boot_ns
from tracer.commands.saved_facts import SavedFacts
from tracer.commands.zombie_records import RecordBuilder
from tracer.diagnosis.rules import remediation_steps
from tracer.model import Child, Evidence, Identity, Process, Record, Source
from tracer.procfs.fs import ProcFs
from tracer.render.explanation import Explanation, Kind

_MAX_ANCESTORS = 64
_DIAGNOSED_OLDEST = _DIAGNOSED_NEWEST = 12
"""Of a parent with more zombies than both together, these are diagnosed one by one."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ExplainContext:
    """Where an explanation comes from.

    Attributes:
        proc: the host's /proc.
        source: started.
        attributor: finds the container and pod of a process.
        saved: what a running agent saved about zombies.
    """

    proc: ProcFs
    source: Source
    attributor: Attributor
    saved: SavedFacts


class Vanished(Exception):  # noqa: N818 - not an error: processes end
    """The process does not exist, or no longer."""


class Explainer:
    """Explains one process.

    Args:
        context: where the facts come from.
        watching: called after the first snapshot, when watching begins.
    """

    def __init__(
        self, context: ExplainContext, *, watching: Callable[[], None] = lambda: None
    ) -> None:
        self._context = context
        self._watching = watching
        self._records = RecordBuilder(context.proc, context.source, context.attributor)

    def explain(self, pid: int, watch_ns: int) -> Explanation:
        """Watch a process for so long, and return what is known about it then.

        Raises:
            Vanished: it does not exist.
        """
        kind, identity = self._kind(pid)
        before = self._zombies()
        began = boot_ns()
        self._watch(watch_ns if kind is not Kind.DEAD_LEADER else 0)
        watched = boot_ns() - began
        now = boot_ns()
        if kind is Kind.ZOMBIE:
            return self._of_zombie(identity, before, now, watched)
        return self._of_parent(kind, identity, now, watched)

    def _watch(self, watch_ns: int) -> None:
        deadline = boot_ns() + watch_ns
        if watch_ns:
            self._watching()
        while (left := deadline - boot_ns()) > 0:
            self._context.source.poll(boot_ns())
            time.sleep(min(_POLL_SECONDS, left / NS))

    def _kind(self, pid: int) -> tuple[Kind, Identity]:
        stat = self._context.proc.stat(self._process_of(pid))
        if stat is None:
            raise Vanished
        identity = Identity(stat.pid, stat.start_ticks)
        if stat.is_zombie:
            return Kind.ZOMBIE, identity
        return (Kind.DEAD_LEADER if stat.state == "Z" else Kind.PARENT), identity

    def _process_of(self, pid: int) -> int:
        """Return the process of a thread: /proc/TID is there for each, though not listed."""
        raw = self._context.proc.read(f"{pid}/status") or b""
        found = re.search(rb"^Tgid:\s*(\d+)$", raw, re.MULTILINE)
        return int(found[1]) if found else pid

    def _zombies(self) -> list[Child]:
        """Return all zombies there are, with what the agent saved about them."""
        snapshot = self._context.source.snapshot()
        children = [snapshot.child(index) for index, _ in enumerate(snapshot.keys())]
        return [self._context.saved.merged(child) for child in children]

    def _of_zombie(
        self, identity: Identity, before: list[Child], now: int, watched_ns: int
    ) -> Explanation:
        after = self._zombies()
        child = _find(after, identity)
        gone = child is None
        child = child or _find(before, identity)
        if child is None:
            raise Vanished
        family = [one for one in after if one.parent_pid == child.parent_pid]
        record, evidence = self._record(child, len(family) - (not gone), now)
        parent_pid = record.zombie.child.parent_pid
        view = self._records.investigator.parent(parent_pid, now)
        return Explanation(
            kind=Kind.REAPED if gone else Kind.ZOMBIE,
            pid=identity.pid,
            now_boot_ns=now,
            watched_ns=watched_ns,
            source=self._context.source.name,
            subject=view.process,
            view=view,
            ancestors=self._ancestors(view.process),
            records=(record,),
            family=tuple(family),
            attribution=record.attribution,
            steps=_steps([(record, evidence)]),
        )

    def _of_parent(self, kind: Kind, identity: Identity, now: int, watched_ns: int) -> Explanation:
        view = self._records.investigator.parent(identity.pid, now)
        process = view.process
        if process is None or process.identity != identity:
            raise Vanished
        family = [one for one in self._zombies() if one.parent_pid == identity.pid]
        family.sort(key=lambda child: child.dead_since_boot_ns or 0)
        diagnosed = [self._record(child, len(family) - 1, now) for child in _ends(family)]
        return Explanation(
            kind=kind,
            pid=identity.pid,
            now_boot_ns=now,
            watched_ns=watched_ns,
            source=self._context.source.name,
            subject=process,
            view=view,
            ancestors=self._ancestors(process),
            records=tuple(record for record, _ in diagnosed),
            family=tuple(family),
            attribution=self._context.attributor.attribute_process(identity),
            forker=self._context.source.forker(identity),
            living_children=self._living(identity.pid, family),
            steps=_steps(diagnosed),
        )

    def _record(self, child: Child, siblings: int, now: int) -> tuple[Record, Evidence]:
        attribution = self._records.attribute(child)
        return self._records.build(child, attribution, max(0, siblings), now)

    def _living(self, pid: int, family: list[Child]) -> int:
        dead = {child.identity.pid for child in family}
        return sum(child not in dead for child in self._context.proc.children(pid))

    def _ancestors(self, process: Process | None) -> tuple[Process, ...]:
        """Return its ancestors from the init of its pid namespace down, and itself."""
        ancestry: list[Process] = []
        while process is not None and len(ancestry) < _MAX_ANCESTORS:
            ancestry.append(process)
            if process.is_init or not process.parent_pid:
                break
            process = self._context.proc.process(process.parent_pid)
        return tuple(reversed(ancestry))


def _ends(family: list[Child]) -> list[Child]:
    """Return the oldest and the newest of many children, which come sorted by age."""
    if len(family) <= _DIAGNOSED_OLDEST + _DIAGNOSED_NEWEST:
        return family
    return family[:_DIAGNOSED_OLDEST] + family[-_DIAGNOSED_NEWEST:]


def _steps(diagnosed: Sequence[tuple[Record, Evidence]]) -> tuple[str, ...]:
    """Return what to do about each cause, that of the first zombie first."""
    steps: dict[str, None] = {}
    causes = set()
    for record, evidence in diagnosed:
        if record.cause is not None and record.cause.code not in causes:
            causes.add(record.cause.code)
            steps |= dict.fromkeys(remediation_steps(record.cause.code, evidence))
    return tuple(steps)


def _find(children: list[Child], identity: Identity) -> Child | None:
    return next((child for child in children if child.identity == identity), None)
