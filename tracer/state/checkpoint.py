"""What an engine knows from before its start, and leaves for the next one."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Protocol

from tracer.clock import NS
from tracer.errors import PermanentError, TemporaryError
from tracer.model import (
    Cause,
    Cgroup,
    Child,
    Identity,
    Snapshot,
    StormFacts,
    Transition,
    Zombie,
)
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import is_alive
from tracer.state.format import EMPTY_BLOCK, Block, Change, SavedState, SavedStorm
from tracer.state.lines import LineNotes
from tracer.state.store import StateStore
from tracer.state.zombies import change_of, is_unfinished, restore, young_change, zombie_of
from tracer.table.storm import StormCounter
from tracer.table.table import Table

SAVE_NS = NS // 4
RETRY_NS = 10 * NS
SAVE_SHARE = 50
"""Between saves passes at least so many times the processor time of the last one."""
YOUNG_LIMIT = 2_000
"""Zombies below the minimum age that are saved at the end; while the agent runs, the source
limits how many there are."""


class Reports(Protocol):
    """The reporter, as far as it shares what is known with the next agent's."""

    def restore(self, zombie: Zombie, now_boot_ns: int) -> None:
        """Learn of a zombie that an earlier agent reported."""

    def restore_storm(
        self,
        parent: Identity,
        comm: str | None,
        cgroup: Cgroup | None,
        cause: Cause | None,
    ) -> None:
        """Learn of a storm that an earlier agent reported."""

    def storm_facts(self, parent: Identity) -> StormFacts | None:
        """Return what is known about a storm; None when unknown or filtered out."""


class YoungDeaths(Protocol):
    """The source, as far as it knows zombies that the table does not know yet."""

    def young(self, now_boot_ns: int) -> Sequence[Child]:
        """Return the newest zombies below the minimum age."""

    def look(self) -> Snapshot:
        """Return every zombie, of any age."""


class Checkpoint:
    """The state folder, as the engine uses it.

    Args:
        store: the folder.
        proc: distinguishes the parent of a storm from a process that took its pid since.
        source: knows zombies below the minimum age.
        writes: the agent keeps state; --follow only reads it, and reports again what
            the agent has reported.

    Attributes:
        lines: takes the notes about the lines of the log, in the sink's thread.
    """

    def __init__(
        self, store: StateStore, proc: ProcFs, source: YoungDeaths, *, writes: bool
    ) -> None:
        self._store = store
        self._proc = proc
        self._source = source
        self._writes = writes
        # The sink's thread notes what it writes; the engine's saves the rest.
        self._lock = Lock()
        self.lines = LineNotes(store, self._lock)
        self._reporter: Reports | None = None
        self._next_save_boot_ns = 0
        self._waiting = False

    def open(self) -> None:
        """Become the one agent that writes to the folder.

        Raises:
            PermanentError: another agent works in it.
        """
        if self._writes:
            self._store.lock()

    @property
    def _state(self) -> SavedState:
        return self.lines.state

    def restore(self, table: Table, reporter: Reports, now_boot_ns: int) -> list[Transition]:
        """Fill an empty table with what the last agent of this boot knew.

        Returns:
            what that agent detected or found reaped, and may not have written: to be reported.
        """
        state = self._store.load(now_boot_ns)
        withdrawn = state.withdraw(in_doubt=True)
        for change in withdrawn:
            state.take(change)
        if not self._writes:
            for saved in state.zombies.values():
                table.restore(Zombie(saved.child, saved.first_seen_boot_ns), None)
            return []
        storms = state.storms.values()
        # First what reads /proc: after a temporary error all of this is done again, and the
        # table must not have changed by then.
        lives = {storm.number: is_alive(self._proc, storm.parent) for storm in storms}
        for saved in state.zombies.values():
            if saved.detected_boot_ns is not None:
                reporter.restore(zombie_of(saved), now_boot_ns)
        for storm in storms:
            reporter.restore_storm(storm.parent, storm.comm, storm.cgroup, storm.cause)
        unwritten = [each for saved in state.zombies.values() for each in restore(table, saved)]
        members = state.members(now_boot_ns)
        for storm in storms:
            counter = _counter(storm, now_boot_ns, active=lives[storm.number])
            numbers = iter(members[storm.number])
            table.restore_storm(counter, zip(numbers, numbers, strict=True))
        self.lines.state, self._reporter = state, reporter
        self._store.append(withdrawn)
        self.save(table, now_boot_ns)  # before anything is written, so that it can be noted
        return unwritten

    def children(self) -> list[Child]:
        """Return the zombies that are saved. Any thread may call it."""
        with self._lock:
            return [saved.child for saved in self._state.zombies.values()]

    def next_due_boot_ns(self) -> int | None:
        """Return when save_when_due() has to be called again; None when it has not."""
        return self._next_save_boot_ns if self._waiting else None

    def save_when_due(self, table: Table, now_boot_ns: int) -> None:
        """Save, if the last time is long enough ago. To be called after every change."""
        self._waiting = self._store.writes and now_boot_ns < self._next_save_boot_ns
        if not self._waiting:
            self.save(table, now_boot_ns)

    def save(self, table: Table, now_boot_ns: int) -> None:
        """Write what has changed in the table since the last save; nothing if nothing has."""
        if not self._store.writes:
            return
        began_cpu_ns = time.thread_time_ns()
        young = self._young_now(now_boot_ns)
        with self._lock:
            changes = [
                *self._zombie_changes(table, young, now_boot_ns),
                *self._storm_changes(table),
            ]
            taken = [change for change in changes if self._state.take(change)]
            if self._store.needs_rewrite:
                saved = self._store.rewrite(self._state.changes())
            else:
                saved = not taken or self._store.append(taken)
        took = time.thread_time_ns() - began_cpu_ns
        pause = max(SAVE_NS if saved else RETRY_NS, SAVE_SHARE * took)
        self._next_save_boot_ns = now_boot_ns + pause
        self._waiting = not saved

    def save_young(self, table: Table, now_boot_ns: int) -> None:
        """Save what died last, however young: the source's knowledge of it ends with the source.

        Raises:
            TemporaryError, PermanentError: the source could not be read.
        """
        if not self._store.writes:
            return
        snapshot = self._source.look()
        with self._lock:
            saved = self._state.zombies
            unknown = (
                snapshot.child(index)
                for index, (pid, start_ticks, _, dead_since) in enumerate(snapshot.keys())
                if dead_since
                and not (Identity(pid, start_ticks) in table or (pid, start_ticks) in saved)
            )
            changes = [young_change(child, now_boot_ns) for child in islice(unknown, YOUNG_LIMIT)]
            self._store.append(change for change in changes if change and self._state.take(change))

    def _young_now(self, now_boot_ns: int) -> Sequence[Child]:
        try:
            return self._source.young(now_boot_ns)
        except (PermanentError, TemporaryError):
            return ()  # poll() meets the same error, and the agent reports it

    def _zombie_changes(self, table: Table, young: Iterable[Child], now: int) -> Iterator[Change]:
        saved, here = self._state.zombies, set()
        for zombie, _ in table.listed():
            identity = zombie.child.identity
            here.add(identity)
            emitted = identity in self.lines.emitted
            change = change_of(zombie, saved.get(identity), emitted=emitted)
            if change is not None:
                yield change
        for child in young:
            if child.identity not in saved and child.identity not in table:
                yield from filter(None, [young_change(child, now)])
            here.add(child.identity)
        self.lines.emitted &= here
        for identity in saved.keys() - here:
            if self._store.grown or not is_unfinished(saved[identity]):
                yield Change(gone=identity)

    def _storm_changes(self, table: Table) -> Iterator[Change]:
        """Compare the counted zombies as blocks of bytes: there may be a million of them."""
        known, storms = self._state.storms, set()
        changed = []
        for number, counter in table.storm_counters():
            storms.add(number)
            storm = self._storm(number, counter)
            if storm != known.get(number):
                changed.append(storm)
        over = tuple(known.keys() - storms)
        saved, now = self._state.blocks, dict(enumerate(table.storm_blocks()))
        blocks = tuple(
            Block(number, entries)
            for number in now.keys() | saved.keys()
            if (entries := now.get(number, EMPTY_BLOCK)) != saved.get(number, EMPTY_BLOCK)
        )
        if changed or over or blocks:
            yield Change(storms=tuple(changed), over=over, blocks=blocks)

    def _storm(self, number: int, counter: StormCounter) -> SavedStorm:
        known = self._state.storms.get(number)
        facts = None if self._reporter is None else self._reporter.storm_facts(counter.parent)
        if facts is not None and facts.parent is not None:
            comm: str | None = facts.parent.comm
        elif known is not None and known.parent == counter.parent:
            comm = known.comm
        else:
            stat = self._proc.stat(counter.parent.pid)
            same = stat is not None and stat.start_ticks == counter.parent.start_ticks
            comm = stat.comm if stat is not None and same else None
        return SavedStorm(
            number=number,
            parent=counter.parent,
            comm=comm,
            began_boot_ns=counter.began_boot_ns,
            detected=counter.detected,
            reaped=counter.reaped,
            oldest_boot_ns=counter.oldest_boot_ns,
            cgroup=None if facts is None else facts.attribution.cgroup,
            cause=None if facts is None else facts.cause,
        )

    def close(self) -> None:
        """Let go of the folder for the next agent."""
        with self._lock:
            self._store.close()


def _counter(saved: SavedStorm, now_boot_ns: int, *, active: bool) -> StormCounter:
    return StormCounter(
        parent=saved.parent,
        began_boot_ns=saved.began_boot_ns,
        active=active,
        detected=saved.detected,
        reaped=saved.reaped,
        oldest_boot_ns=saved.oldest_boot_ns,
        reported_boot_ns=now_boot_ns,
        reported_detected=saved.detected,
        reported_reaped=saved.reaped,
    )
