"""What is saved of one zombie, and what a saved one becomes after a restart. Pure."""

from collections.abc import Iterator
from dataclasses import replace

from tracer.model import Child, Detected, Reaped, Transition, Zombie
from tracer.model.event import EventName
from tracer.state.format import Change, SavedZombie
from tracer.table.table import Table


def change_of(zombie: Zombie, known: SavedZombie | None, *, emitted: bool) -> Change | None:
    """Return what is to be saved of a listed zombie; None when nothing has changed.

    Args:
        zombie: as the table has it.
        known: as it is saved.
        emitted: its zombie_detected is on the way to the log, or was written.
    """
    child, queued = zombie.child, zombie.detected_boot_ns if emitted else None
    if known is None:
        return Change(zombie=SavedZombie(child, zombie.first_seen_boot_ns, queued_boot_ns=queued))
    if known.detected_boot_ns is not None or known.queued_boot_ns is not None:
        queued = known.queued_boot_ns
    if queued == known.queued_boot_ns and (known.child is child or known.child == child):
        return None
    return Change(zombie=replace(known, child=child, queued_boot_ns=queued))


def young_change(child: Child, now_boot_ns: int) -> Change | None:
    """Return what is to be saved of a zombie below the minimum age; None when that is nothing."""
    if child.exit_boot_ns is None:  # the next agent can see as much as this one
        return None
    return Change(zombie=SavedZombie(child, now_boot_ns))


def is_unfinished(saved: SavedZombie) -> bool:
    """Return whether a line of a zombie that the table does not have is still to be written.

    Also true when a full log has dropped that line: who asks forgets such from time to time.
    """
    return saved.detected_boot_ns is not None or saved.queued_boot_ns is not None


def zombie_of(saved: SavedZombie) -> Zombie:
    """Return a saved zombie as the table had it."""
    detected = saved.queued_boot_ns if saved.detected_boot_ns is None else saved.detected_boot_ns
    return Zombie(saved.child, saved.first_seen_boot_ns, detected)


def restore(table: Table, saved: SavedZombie) -> Iterator[Transition]:
    """Put a saved zombie into the table, and yield what may not have been written."""
    zombie, line = zombie_of(saved), saved.in_doubt
    if line is not None and line.event is EventName.ZOMBIE_REAPED:
        yield Reaped(zombie, line.at_boot_ns, max(0, zombie.age_ns(line.at_boot_ns)))
        return
    table.restore(zombie, saved.step_ns)
    if saved.detected_boot_ns is None and saved.queued_boot_ns is not None:
        yield Detected(zombie)
