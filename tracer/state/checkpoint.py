"""What an engine knows from before its start, and leaves for the next one."""

import time
from collections.abc import Iterator
from dataclasses import replace
from threading import Lock
from typing import Protocol

from tracer.clock import NS
from tracer.model import Cause, Cgroup, Child, Identity, StormFacts, Zombie
from tracer.model.event import Event, EventName
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import is_alive
from tracer.state.format import (
    EMPTY_BLOCK,
    Block,
    Change,
    SavedState,
    SavedStorm,
    SavedZombie,
)
from tracer.state.store import StateStore
from tracer.table.storm import StormCounter
from tracer.table.table import Table

SAVE_NS = NS
RETRY_NS = 10 * NS
SAVE_SHARE = 50
"""Between saves passes at least so many times the processor time of the last one."""


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


class Checkpoint:
    """The state folder, as the engine uses it.

    Args:
        store: the folder.
        proc: distinguishes the parent of a storm from a process that took its pid since.
        writes: the agent keeps state; --follow only reads it, and reports again what
            the agent has reported.
    """

    def __init__(self, store: StateStore, proc: ProcFs, *, writes: bool) -> None:
        self._store = store
        self._proc = proc
        self._writes = writes
        # The sink's thread notes what it has written; the engine's saves the rest.
        self._lock = Lock()
        # What the file says. There a zombie is detected once zombie_detected is written;
        # in the table it is so before, while the line waits for its pod's name or for a
        # slow reader, and would be lost by a kill -9.
        self._state = SavedState()
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

    def restore(self, table: Table, reporter: Reports, now_boot_ns: int) -> None:
        """Fill an empty table with what the last agent of this boot knew."""
        state = self._store.load(now_boot_ns)
        zombies = [self._restored(saved) for saved in state.zombies.values()]
        storms = state.storms.values() if self._writes else ()
        # First what reads /proc: after a temporary error all of this is done again, and the
        # table must not have changed by then.
        lives = {storm.number: is_alive(self._proc, storm.parent) for storm in storms}
        for zombie, _ in zombies:
            if zombie.detected_boot_ns is not None:
                reporter.restore(zombie, now_boot_ns)
        for storm in storms:
            reporter.restore_storm(storm.parent, storm.comm, storm.cgroup, storm.cause)
        for zombie, step_ns in zombies:
            table.restore(zombie, step_ns)
        if not self._writes:
            return
        members = state.members(now_boot_ns)
        for storm in storms:
            counter = _counter(storm, now_boot_ns, active=lives[storm.number])
            numbers = iter(members[storm.number])
            table.restore_storm(counter, zip(numbers, numbers, strict=True))
        self._state, self._reporter = state, reporter
        self.save(table, now_boot_ns)  # before anything is written, so that it can be noted

    def _restored(self, saved: SavedZombie) -> tuple[Zombie, int | None]:
        """Return a saved zombie and its step; as undetected for who reports everything again."""
        if not self._writes:
            return Zombie(saved.child, saved.first_seen_boot_ns), None
        return Zombie(saved.child, saved.first_seen_boot_ns, saved.detected_boot_ns), saved.step_ns

    def written(self, event: Event) -> None:
        """Note that a line is written. Called from the sink's thread."""
        if event.record is None or not self._store.writes:
            return
        zombie, age_ns = event.record.zombie, event.record.age_ns
        identity = zombie.child.identity
        with self._lock:
            change = None
            known = self._state.zombies.get(identity)
            match event.name:
                case EventName.ZOMBIE_DETECTED:
                    since = zombie.first_seen_boot_ns, zombie.detected_boot_ns
                    change = Change(zombie=SavedZombie(zombie.child, *since))
                case EventName.ZOMBIE_AGED if known is not None:
                    change = Change(zombie=replace(known, step_ns=age_ns))
                case EventName.ZOMBIE_REAPED:
                    change = Change(gone=identity)
            if change is not None and self._state.take(change):
                self._store.append([change])

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
        with self._lock:
            changes = [*self._zombie_changes(table), *self._storm_changes(table)]
            taken = [change for change in changes if self._state.take(change)]
            if self._store.needs_rewrite:
                saved = self._store.rewrite(self._state.changes())
            else:
                saved = not taken or self._store.append(taken)
        took = time.thread_time_ns() - began_cpu_ns
        pause = max(SAVE_NS if saved else RETRY_NS, SAVE_SHARE * took)
        self._next_save_boot_ns = now_boot_ns + pause
        self._waiting = not saved

    def _zombie_changes(self, table: Table) -> Iterator[Change]:
        saved, listed = self._state.zombies, set()
        for zombie, _ in table.listed():
            child = zombie.child
            listed.add(child.identity)
            known = saved.get(child.identity)
            if known is None:
                yield Change(zombie=SavedZombie(child, zombie.first_seen_boot_ns))
            elif known.child is not child and known.child != child:
                yield Change(zombie=replace(known, child=child))
        for identity in saved.keys() - listed:
            # If it was reported, zombie_reaped is still to be written, or a full log
            # has dropped it: such are forgotten when the file is written anew.
            if saved[identity].detected_boot_ns is None or self._store.grown:
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
