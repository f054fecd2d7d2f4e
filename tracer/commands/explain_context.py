"""Gathers the story that `tracer explain` tells: a look, a while of watching, another look."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tracer.attribution.attributor import Attributor
from tracer.clock import NS, boot_ns
from tracer.diagnosis.evidence import Investigator
from tracer.diagnosis.rules import remediation_steps
from tracer.model import Attribution, Child, Evidence, Identity, Process, Record, Source, Zombie
from tracer.procfs.fs import ProcFs
from tracer.procfs.zombie import read_zombie
from tracer.render.explanation import Explanation, Kind

_MAX_ANCESTORS = 64
_FOLDED = 24
"""Zombies of one parent that are diagnosed one by one, the oldest and the youngest of them."""
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ExplainContext:
    """What one looks through.

    Attributes:
        proc: the host's /proc.
        source: started.
        attributor: says whose a process is.
        saved: what a running agent wrote down, by identity.
    """

    proc: ProcFs
    source: Source
    attributor: Attributor
    saved: dict[Identity, Child]


class Vanished(Exception):  # noqa: N818 - it is what happened, not a mistake
    """There is no such process."""


class Explainer:
    """Tells of one process.

    Args:
        context: what to look through.
        watching: called after the first look, when watching begins.
    """

    def __init__(
        self, context: ExplainContext, *, watching: Callable[[], None] = lambda: None
    ) -> None:
        self._context = context
        self._watching = watching
        self._investigator = Investigator(context.proc, context.source)

    def explain(self, pid: int, watch_ns: int) -> Explanation:
        """Look at a process, watch for so long, and return its story.

        Raises:
            Vanished: it is not there.
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
        """Return all zombies there are, with what the agent wrote down of them."""
        snapshot = self._context.source.snapshot()
        children = [snapshot.child(index) for index, _ in enumerate(snapshot.keys())]
        return [self._known(child) for child in children]

    def _known(self, child: Child) -> Child:
        saved = self._context.saved.get(child.identity)
        if saved is None:
            return child
        return replace(
            child,
            exit_boot_ns=child.exit_boot_ns or saved.exit_boot_ns,
            exit_parent_pid=child.exit_parent_pid or saved.exit_parent_pid,
            forker=child.forker or saved.forker,
            origin=child.origin or saved.origin,
            origin_pid=child.origin_pid or saved.origin_pid,
        )

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
        view = self._investigator.parent(parent_pid, now)
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
        view = self._investigator.parent(identity.pid, now)
        process = view.process
        if process is None or process.identity != identity:
            raise Vanished
        family = [one for one in self._zombies() if one.parent_pid == identity.pid]
        family.sort(key=lambda child: child.dead_since_boot_ns or 0)
        chosen = family if len(family) <= _FOLDED else family[: _FOLDED // 2] + family[-12:]
        told = [self._record(child, len(family) - 1, now) for child in chosen]
        return Explanation(
            kind=kind,
            pid=identity.pid,
            now_boot_ns=now,
            watched_ns=watched_ns,
            source=self._context.source.name,
            subject=process,
            view=view,
            ancestors=self._ancestors(process),
            records=tuple(record for record, _ in told),
            family=tuple(family),
            attribution=self._context.attributor.attribute_process(identity.pid),
            forker=self._context.source.forker(identity),
            living_children=self._living(identity.pid, family),
            steps=_steps(told),
        )

    def _record(self, child: Child, siblings: int, now: int) -> tuple[Record, Evidence]:
        attribution: Attribution = self._context.attributor.attribute(
            child, child.parent_pid or None
        )
        zombie = Zombie(child, now, now, max(0, siblings))
        view = read_zombie(self._context.proc, child.identity)
        finding = self._investigator.investigate(zombie, attribution, now, max(0, siblings), view)
        zombie = replace(zombie, child=finding.evidence.child)
        record = Record(
            zombie, zombie.age_ns(now), finding.parent, finding.waits, attribution, finding.cause
        )
        return record, finding.evidence

    def _living(self, pid: int, family: list[Child]) -> int:
        dead = {child.identity.pid for child in family}
        return sum(child not in dead for child in self._context.proc.children(pid))

    def _ancestors(self, process: Process | None) -> tuple[Process, ...]:
        """Return the line from the init of its pid namespace, or the machine's, down to it."""
        line: list[Process] = []
        while process is not None and len(line) < _MAX_ANCESTORS:
            line.append(process)
            if process.is_init or not process.parent_pid:
                break
            process = self._context.proc.process(process.parent_pid)
        return tuple(reversed(line))


def _steps(told: Sequence[tuple[Record, Evidence]]) -> tuple[str, ...]:
    """Return what to do about each cause, that of the oldest or of the one asked about first."""
    steps: dict[str, None] = {}
    causes = set()
    for record, evidence in told:
        if record.cause is not None and record.cause.code not in causes:
            causes.add(record.cause.code)
            steps |= dict.fromkeys(remediation_steps(record.cause.code, evidence))
    return tuple(steps)


def _find(children: list[Child], identity: Identity) -> Child | None:
    return next((child for child in children if child.identity == identity), None)
