"""What an engine remembers from before its start, and leaves for the next one."""

import time
from threading import Lock
from typing import Protocol

from tracer.clock import NS
from tracer.model import Identity, Zombie
from tracer.model.event import Event, EventName
from tracer.procfs.fs import ProcFs
from tracer.state.saved import SavedState, SavedStorm, SavedZombie, pack_by_parent, unpack_members
from tracer.state.store import StateStore
from tracer.table.storm import StormCounter
from tracer.table.table import Table

SAVE_NS = 10 * NS
SAVE_SHARE = 50
"""Between saves passes at least so many times the processor time of the last one."""


class Restorer(Protocol):
    """Whoever must know the zombies that an earlier agent told of."""

    def restore(self, zombie: Zombie, now_boot_ns: int) -> None:
        """Learn of one."""


class Checkpoint:
    """The state folder, as the engine uses it.

    Args:
        store: the folder.
        proc: to tell a storm's parent from one that took its pid since.
        writes: the agent keeps state; --follow and scan only read it, and tell
            what the agent has told already.
    """

    def __init__(self, store: StateStore, proc: ProcFs, *, writes: bool) -> None:
        self._store = store
        self._proc = proc
        self._writes = writes
        # The sink's thread notes what is written; the engine's saves the whole.
        self._lock = Lock()
        self._next_save_boot_ns = 0
        # Whose zombie_detected is out. The table knows them sooner, while the line still
        # waits for its pod's name or for a slow reader: a kill -9 then must not lose it.
        self._reported: set[Identity] = set()
        self.dirty = False

    def open(self) -> None:
        """Become the one agent that writes to the folder.

        Raises:
            PermanentError: another agent works in it.
        """
        if self._writes:
            self._store.lock()

    def restore(self, table: Table, reporter: Restorer, now_boot_ns: int) -> None:
        """Fill an empty table with what the last agent of this boot knew."""
        state = self._store.load()
        for saved in state.zombies:
            detected = saved.detected_boot_ns if self._writes else None
            zombie = Zombie(saved.child, saved.first_seen_boot_ns, detected)
            table.restore(zombie, saved.step_ns if self._writes else None)
            if detected is not None:
                self._reported.add(saved.child.identity)
                reporter.restore(zombie, now_boot_ns)
        if self._writes:
            for storm in state.storms:
                counter = _flood(storm, now_boot_ns, active=self._lives(storm.parent))
                table.restore_storm(counter, unpack_members(storm.members))

    def _lives(self, parent: Identity) -> bool:
        stat = self._proc.stat(parent.pid)
        return stat is not None and stat.start_ticks == parent.start_ticks

    def written(self, event: Event) -> None:
        """Note that a line is out. Called from the sink's thread."""
        record = event.record
        if not self._writes or record is None:
            return
        identity = record.zombie.child.identity
        with self._lock:
            match event.name:
                case EventName.ZOMBIE_DETECTED:
                    self._reported.add(identity)
                    self._store.note_detected(record.zombie)
                case EventName.ZOMBIE_AGED:
                    self._store.note_step(identity, record.age_ns)
                case EventName.ZOMBIE_REAPED:
                    self._reported.discard(identity)
                    self._store.note_gone(identity)
            self.dirty = True

    def save_when_due(self, table: Table, now_boot_ns: int) -> None:
        """Write everything anew from time to time."""
        if now_boot_ns >= self._next_save_boot_ns or self._store.wants_save():
            self.save(table, now_boot_ns)

    def save(self, table: Table, now_boot_ns: int) -> None:
        """Write everything anew."""
        if not self._writes:
            return
        began_cpu_ns = time.thread_time_ns()
        storms = tuple(self._storms(table, now_boot_ns))
        with self._lock:
            # What is noted after this goes into the new journal.
            zombies = tuple(self._saved(*listed) for listed in table.listed())
            self._reported.intersection_update(zombie.child.identity for zombie in zombies)
            self._store.save(SavedState(zombies, storms, saved_boot_ns=now_boot_ns))
            self.dirty = False
        took = time.thread_time_ns() - began_cpu_ns
        self._next_save_boot_ns = now_boot_ns + max(SAVE_NS, SAVE_SHARE * took)

    def _saved(self, zombie: Zombie, step_ns: int | None) -> SavedZombie:
        child = zombie.child
        if child.identity not in self._reported:
            return SavedZombie(child, zombie.first_seen_boot_ns)
        return SavedZombie(child, zombie.first_seen_boot_ns, zombie.detected_boot_ns, step_ns)

    def _storms(self, table: Table, now_boot_ns: int) -> list[SavedStorm]:
        storms = table.storms(now_boot_ns)
        if not storms:
            return []
        members = pack_by_parent(table.storm_members())
        saved = []
        for storm in storms:
            stat = self._proc.stat(storm.parent_pid)
            saved.append(
                SavedStorm(
                    parent=Identity(storm.parent_pid, 0 if stat is None else stat.start_ticks),
                    began_boot_ns=storm.began_boot_ns,
                    detected=storm.detected,
                    reaped=storm.reaped,
                    oldest_exit_boot_ns=(
                        None
                        if storm.oldest_age_ns is None
                        else max(0, now_boot_ns - storm.oldest_age_ns)
                    ),
                    members=bytes(members.pop(storm.parent_pid, b"")),
                )
            )
        return saved

    def close(self) -> None:
        """Give the folder free for the next agent."""
        with self._lock:
            self._store.close()


def _flood(saved: SavedStorm, now_boot_ns: int, *, active: bool) -> StormCounter:
    return StormCounter(
        parent_pid=saved.parent.pid,
        began_boot_ns=saved.began_boot_ns,
        active=active,
        detected=saved.detected,
        reaped=saved.reaped,
        oldest_boot_ns=saved.oldest_exit_boot_ns,
        reported_boot_ns=now_boot_ns,
        reported_detected=saved.detected,
        reported_reaped=saved.reaped,
    )
