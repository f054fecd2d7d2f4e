"""Notes about the lines of the log, taken before each is written and confirmed afterwards.

No line is written before its note, so a kill -9 loses none. One that comes between a note and its
confirmation leaves that line in doubt: the next agent writes it again, marked as repeated.
"""

from dataclasses import replace
from threading import Lock
from typing import Protocol

from tracer.model import Identity, Record
from tracer.model.event import Event, EventName
from tracer.state.format import WRITTEN, Change, LogLine, SavedState, SavedZombie
from tracer.state.store import StateStore


class LineNotes:
    """Keeps the state in step with the log. Called from the sink's thread, but for emit().

    Args:
        store: where the notes go.
        lock: of `state`.

    Attributes:
        state: what the file says. There a zombie is detected once zombie_detected is noted; in
            the table it is so before, while the line waits for its pod's name or for a slow
            reader, and would be lost by a kill -9.
        emitted: zombies whose zombie_detected was handed to the log.
    """

    def __init__(self, store: StateStore, lock: Lock) -> None:
        self.state = SavedState()
        self.emitted: set[Identity] = set()
        self._store = store
        self._lock = lock
        self._writing: Event | None = None

    def writing(self, event: Event) -> None:
        """Note that a line is about to be written."""
        with self._lock:
            if self._writing is not None:  # written() did not come: that line is lost
                self._take(*self.state.withdraw(in_doubt=False))
                self._writing = None
            change = self._change(event)
            if change is not None:
                line = LogLine(event.name, event.at_boot_ns, event.step_ns)
                if self._take(replace(change, line=line)):
                    self._writing = event

    def written(self, event: Event) -> None:
        """Note that a line is written, or is left out on purpose."""
        with self._lock:
            if self._writing is event:
                self._writing = None
                self._take(WRITTEN)
            elif (change := self._change(event)) is not None:
                self._take(change)

    def emit(self, event: Event) -> Event:
        """Note that an event goes to the log; return it marked if its line may be there already.

        Called from the engine's thread.
        """
        if event.record is None:
            return event
        identity = event.record.zombie.child.identity
        with self._lock:
            saved = self.state.zombies.get(identity)
            if event.name is EventName.ZOMBIE_DETECTED:
                self.emitted.add(identity)
        line = None if saved is None else saved.in_doubt
        if line is None or (line.event, line.step_ns) != (event.name, event.step_ns):
            return event
        return replace(event, repeated=True)

    def _take(self, *changes: Change) -> bool:
        taken = [change for change in changes if self.state.take(change)]
        if taken:
            self._store.append(taken)
        return bool(taken)

    def _change(self, event: Event) -> Change | None:
        """Return what is true of the zombie when its line is written."""
        if event.record is None or not self._store.writes:
            return None
        identity = event.record.zombie.child.identity
        known = self.state.zombies.get(identity)
        match event.name:
            case EventName.ZOMBIE_DETECTED:
                return Change(zombie=_detected(event.record))
            case EventName.ZOMBIE_AGED if known is not None:
                return Change(zombie=replace(known, step_ns=event.step_ns, in_doubt=None))
            case EventName.ZOMBIE_REAPED if known is not None:
                return Change(gone=identity)
        return None


def _detected(record: Record) -> SavedZombie:
    zombie = record.zombie
    return SavedZombie(zombie.child, zombie.first_seen_boot_ns, zombie.detected_boot_ns)


class EventSink(Protocol):
    """Takes events."""

    def emit(self, event: Event) -> None:
        """Take one event; never raises."""


class NotedSink:
    """In front of a sink: notes the events, and marks those that an earlier agent may have written.

    Args:
        sink: takes the events.
        lines: takes the notes.
    """

    def __init__(self, sink: EventSink, lines: LineNotes) -> None:
        self._sink = sink
        self._lines = lines

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        self._sink.emit(self._lines.emit(event))
