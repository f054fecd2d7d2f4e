"""Gathers what `tracer explain` prints: a look, a time of watching, another look."""

import re
import time
from collections.abc import Callable, Sequence

from tracer.clock import NS, boot_ns
from tracer.commands.family import Family, look
from tracer.commands.knowledge import Knowledge
from tracer.commands.zombie_records import RecordBuilder
from tracer.diagnosis.parent import ParentView, named
from tracer.diagnosis.rules import remediation_steps
from tracer.model import Child, Evidence, Identity, Process, Record, WaitFor
from tracer.procfs.fs import ProcFs
from tracer.render.explanation import Explanation, Kind

_MAX_ANCESTORS = 64
_MOST_COUNTED = 20_000
_POLL_SECONDS = 0.2


class Vanished(Exception):  # noqa: N818 - not an error: processes end
    """The process does not exist, or no longer."""


class Explainer:
    """Explains one process.

    Args:
        knowledge: where the facts come from.
        watching: called when watching begins, after the first look.
    """

    def __init__(
        self, knowledge: Knowledge, *, watching: Callable[[], None] = lambda: None
    ) -> None:
        self._knowledge = knowledge
        self._watching = watching
        self._records = RecordBuilder(knowledge.proc, knowledge.source, knowledge.attributor)

    def explain(self, pid: int, watch_ns: int) -> Explanation:
        """Return what is known about a process.

        Args:
            pid: the process.
            watch_ns: how long to watch it first; the running agent has done so already.

        Raises:
            Vanished: it does not exist.
        """
        kind, identity = self._kind(pid)
        before = self._look(identity) if kind is Kind.ZOMBIE else None
        watched = self._watch(watch_ns if kind is not Kind.DEAD_LEADER else 0)
        now = boot_ns()
        if before is not None:
            return self._of_zombie(identity, before, now, watched)
        return self._of_parent(kind, identity, now, watched)

    def _watch(self, watch_ns: int) -> int:
        """Watch for so long; return for how long parents have been watched in all."""
        began, source = boot_ns(), self._knowledge.source
        if self._knowledge.of_agent:
            return began - (source.attached_boot_ns or began)
        if watch_ns:
            self._watching()
        while (left := began + watch_ns - boot_ns()) > 0:
            source.poll(boot_ns())
            time.sleep(min(_POLL_SECONDS, left / NS))
        return boot_ns() - began

    def _kind(self, pid: int) -> tuple[Kind, Identity]:
        stat = self._knowledge.proc.stat(self._process_of(pid))
        if stat is None:
            raise Vanished
        identity = Identity(stat.pid, stat.start_ticks)
        if stat.is_zombie:
            return Kind.ZOMBIE, identity
        return (Kind.DEAD_LEADER if stat.state == "Z" else Kind.PARENT), identity

    def _process_of(self, pid: int) -> int:
        """Return the process of a thread: /proc/TID is there for each, though not listed."""
        raw = self._knowledge.proc.read(f"{pid}/status") or b""
        found = re.search(rb"^Tgid:\s*(\d+)$", raw, re.MULTILINE)
        return int(found[1]) if found else pid

    def _look(self, identity: Identity, parent_pid: int | None = None) -> Family:
        """Look for a zombie and for the zombies of one parent: its own, if not named."""
        if parent_pid is None:
            stat = self._knowledge.proc.stat(identity.pid)
            parent_pid = None if stat is None else stat.ppid
        return look(self._knowledge, identity, parent_pid)

    def _of_zombie(
        self, identity: Identity, before: Family, now: int, watched_ns: int
    ) -> Explanation:
        after = self._look(identity, None if before.zombie is None else before.zombie.parent_pid)
        if after.zombie is not None and after.zombie.parent_pid != after.parent_pid:
            after = self._look(identity, after.zombie.parent_pid)  # adopted meanwhile
        child = after.zombie or before.zombie
        if child is None:
            raise Vanished
        gone = after.zombie is None
        record, evidence = self._record(child, len(after.died) - (not gone), now)
        parent_pid = record.zombie.child.parent_pid
        view = self._records.investigator.parent(parent_pid, now)
        return Explanation(
            kind=Kind.REAPED if gone else Kind.ZOMBIE,
            pid=identity.pid,
            now_boot_ns=now,
            watched_ns=watched_ns,
            source=self._knowledge.source.name,
            subject=view.process,
            view=view,
            waited_for=self._waited_for(view),
            ancestors=self._ancestors(view.process),
            records=(record,),
            family=after.died,
            attribution=record.attribution,
            steps=_steps([(record, evidence)]),
        )

    def _of_parent(self, kind: Kind, identity: Identity, now: int, watched_ns: int) -> Explanation:
        view = self._records.investigator.parent(identity.pid, now)
        process = view.process
        if process is None or process.identity != identity:
            raise Vanished
        family = self._look(identity, identity.pid)
        siblings = len(family.died) - 1
        diagnosed = [self._record(child, siblings, now) for child in family.ends]
        return Explanation(
            kind=kind,
            pid=identity.pid,
            now_boot_ns=now,
            watched_ns=watched_ns,
            source=self._knowledge.source.name,
            subject=process,
            view=view,
            waited_for=self._waited_for(view),
            ancestors=self._ancestors(process),
            records=tuple(record for record, _ in diagnosed),
            family=family.died,
            attribution=self._knowledge.attributor.attribute_process(identity),
            forker=self._knowledge.source.forker(identity),
            living_children=self._living(identity.pid, family),
            steps=_steps(diagnosed),
        )

    def _record(self, child: Child, siblings: int, now: int) -> tuple[Record, Evidence]:
        attribution = self._records.attribute(child)
        return self._records.build(child, attribution, max(0, siblings), now)

    def _living(self, pid: int, family: Family) -> int | None:
        """Count its living children; None where that would need memory by the million."""
        if len(family.died) > _MOST_COUNTED:
            return None
        return sum(child not in family.pids for child in self._knowledge.proc.children(pid))

    def _waited_for(self, view: ParentView) -> Process | None:
        """Return the child that a process waits for, by its latest call or the one it is in."""
        numbers = {one.number for one in view.blocked if one.wanted is WaitFor.PROCESS}
        if view.waited_for is not None or view.process is None or not numbers:
            return view.waited_for
        # The call has the child's pid in the caller's PID namespace.
        pid, proc = view.process.identity.pid, self._knowledge.proc
        depth = len(_vpids(proc, pid)) - 1
        for child in proc.children(pid):
            vpids = _vpids(proc, child)
            if 0 <= depth < len(vpids) and vpids[depth] in numbers:
                return named(proc, child)
        return None

    def _ancestors(self, process: Process | None) -> tuple[Process, ...]:
        """Return its ancestors from the init of its pid namespace down, and itself."""
        ancestry: list[Process] = []
        while process is not None and len(ancestry) < _MAX_ANCESTORS:
            ancestry.append(process)
            if process.is_init or not process.parent_pid:
                break
            process = self._knowledge.proc.process(process.parent_pid)
        return tuple(reversed(ancestry))


def _vpids(proc: ProcFs, pid: int) -> tuple[int, ...]:
    status = proc.status(pid)
    return () if status is None else status.vpids


def _steps(diagnosed: Sequence[tuple[Record, Evidence]]) -> tuple[str, ...]:
    """Return what to do about each cause, that of the first zombie first."""
    steps: dict[str, None] = {}
    causes = set()
    for record, evidence in diagnosed:
        if record.cause is not None and record.cause.code not in causes:
            causes.add(record.cause.code)
            steps |= dict.fromkeys(remediation_steps(record.cause.code, evidence))
    return tuple(steps)
