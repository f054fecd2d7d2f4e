"""One live view inside the agent: a second table and reporter, fed with what the agent sees."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from tracer.agent.age_gate import AgeGate
from tracer.agent.audience import Audience, Shown
from tracer.agent.partial_snapshot import PartialSnapshot
from tracer.agent.reporter import EventSink, Reporter
from tracer.agent.snapshots import COST_SHARE
from tracer.clock import NS, boot_ns
from tracer.model import Child, Identity, Observation, Snapshot, SnapshotKey, Transition, merge
from tracer.model.event import Event, Sink, StormContext
from tracer.table.table import Table

MOST_OBSERVATIONS = 8192
"""Observations that wait for a round. Of more than that a look at all zombies takes the place."""
_APPLIED = 1024
"""Observations taken in one round."""
_SHORTEST_PAUSE_NS = NS


class Looking(Protocol):
    """The source in use, as a live view asks it."""

    def look(self) -> Snapshot:
        """Return every zombie there is; changes nothing in what poll() and snapshot() return."""


class Pipeline(NamedTuple):
    """What a live view is made of; both are empty and its own."""

    table: Table
    reporter: Reporter


MakePipeline = Callable[[int, EventSink], Pipeline]
"""Makes the table and the reporter for a minimum age; the reporter writes to that sink."""


class AgentView(NamedTuple):
    """What the agent itself knows: a live view sees no zombie that the agent does not see."""

    table: Table
    gate: AgeGate

    def knows(self, identity: Identity) -> bool:
        """Return whether the source has reported that zombie, and will report its reaping."""
        return identity in self.table or identity in self.gate

    def child(self, identity: Identity) -> Child | None:
        """Return what the agent knows of a zombie, perhaps from an earlier agent."""
        zombie = self.table.get(identity)
        return self.gate.get(identity) if zombie is None else zombie.child


class Follower:
    """Turns observations into the events of one live view. Owned by the engine's thread.

    Its work in a round is bounded; what is left waits, in bounded memory, for the next one.

    Args:
        min_age_ns: when a zombie is shown.
        make: makes its table and its reporter.
        agent: the agent's own table and gate.
    """

    def __init__(self, min_age_ns: int, make: MakePipeline, agent: AgentView) -> None:
        self.audience = Audience()
        self._table, self._reporter = make(min_age_ns, self.audience)
        self._agent = agent
        self._observations: deque[Observation] = deque()
        self._transitions: deque[Transition] = deque()
        self._wants_look = True
        self._pause_end_boot_ns = 0

    def join(self, sink: Sink, started: Event | None, now_boot_ns: int) -> None:
        """Add a client: it is shown what is there, then what happens."""
        self.audience.join(sink, started, self._shown(now_boot_ns))

    def _shown(self, now_boot_ns: int) -> Iterator[Shown]:
        yield from self._reporter.records()
        for storm in self._table.storms(now_boot_ns):
            facts = self._reporter.storm_facts(storm.parent)
            if facts is None:
                continue
            # Where the parent died, the listed zombies are another process's.
            zombies = storm.zombies if facts.parent_gone else self._table.siblings(storm.parent.pid)
            yield StormContext(
                replace(storm, zombies=zombies),
                facts.parent,
                facts.attribution,
                facts.cause,
                facts.parent_gone,
            )

    def take(self, observations: Sequence[Observation]) -> None:
        """Queue what the source has reported."""
        if len(self._observations) + len(observations) > MOST_OBSERVATIONS:
            self._observations.clear()
            self._wants_look = True
        else:
            self._observations.extend(observations)

    def want_look(self) -> None:
        """Have it compared with all zombies: the agent was, and that may have shown others."""
        self._wants_look = True

    def look_due(self, now_boot_ns: int) -> bool:
        """Return whether look() is to be called, before work()."""
        idle = not self._transitions
        return self._wants_look and idle and now_boot_ns >= self._pause_end_boot_ns

    def look(self, source: Looking, now_boot_ns: int) -> None:
        """Make the table equal to what the agent's own table and gate have of all zombies."""
        self._wants_look = False
        began_cpu_ns = time.thread_time_ns()
        self._transitions += self._table.apply(self._observations, now_boot_ns)
        self._observations.clear()
        seen = _SeenByAgent(source.look(), self._agent, self._table)
        self._transitions += self._table.reconcile(seen, now_boot_ns)
        cost_ns = COST_SHARE * (time.thread_time_ns() - began_cpu_ns)
        self._pause_end_boot_ns = boot_ns() + max(_SHORTEST_PAUSE_NS, cost_ns)

    def work(self, now_boot_ns: int, limit: int) -> None:
        """Do what is due, with at most that many events (and all held back for a pod's name)."""
        if not self._transitions:
            some = [
                self._observations.popleft() for _ in range(min(_APPLIED, len(self._observations)))
            ]
            if some:
                self._transitions += self._table.apply(some, now_boot_ns)
            self._transitions += self._table.tick(now_boot_ns)
            self._wants_look = self._wants_look or self._table.wants_snapshot
        limit -= self.audience.replay(now_boot_ns, limit)
        for _ in range(min(limit, len(self._transitions))):
            self._reporter.report((self._transitions.popleft(),), now_boot_ns)
        self._reporter.release(now_boot_ns)

    def next_due_boot_ns(self, now_boot_ns: int, *, may_look: bool) -> int | None:
        """Return when work() or look() is to be called; None when nothing is to come."""
        if self._observations or self._transitions or self.audience.replaying:
            return now_boot_ns
        dues = [self._table.next_due_boot_ns(), self._reporter.next_release_boot_ns(now_boot_ns)]
        if self._wants_look and may_look:
            dues.append(self._pause_end_boot_ns)
        return min((due for due in dues if due is not None), default=None)

    def finish(self, now_boot_ns: int) -> None:
        """Report what is held back and where each storm stands: the agent ends."""
        self._reporter.report(self._transitions, now_boot_ns)
        self._transitions.clear()
        self._reporter.release(now_boot_ns, everything=True)
        self._reporter.report(self._table.finish(now_boot_ns), now_boot_ns)


class _SeenByAgent(PartialSnapshot):
    """Those zombies of a look that the agent knows, with what it knows of each.

    Of others the source has not reported the death, and would not report the reaping: they
    come with the next poll, or with the look that follows the agent's next snapshot.
    """

    def __init__(self, snapshot: Snapshot, agent: AgentView, own: Table) -> None:
        super().__init__(snapshot)
        self._agent = agent
        self._own = own

    def _selected(self) -> Iterator[tuple[int, SnapshotKey]]:
        for place, key in enumerate(self._snapshot.keys()):
            identity = Identity(*key[:2])
            if identity in self._own:
                yield place, key
            elif self._agent.knows(identity):
                known = self._agent.child(identity)
                died = None if known is None else known.exit_boot_ns
                yield place, key if died is None else (*key[:3], died)

    def child(self, index: int) -> Child:
        """Unpack a zombie; what an earlier agent saw of it is filled in."""
        child = super().child(index)
        known = self._agent.child(child.identity)
        return child if known is None else merge(child, known)
