"""What survives the agent's restart: the records, and how a journal changes them. Pure.

A note says nothing that is wrong when it is read twice: replaying an old journal
over a newer snapshot changes nothing, so a crash between writing the one and
emptying the other is escape_untrusted.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tracer.model import Child, Identity

_MEMBER = struct.Struct("<IQ")
"""One member of a storm: pid (u32), start_ticks (u64)."""

MEMBER_BYTES = _MEMBER.size


@dataclass(frozen=True, slots=True)
class SavedZombie:
    """One zombie as the table held it.

    Attributes:
        child: what was known of it: exit time, forker and parent at exit are
            known to nobody else once the agent that watched them is gone.
        first_seen_boot_ns: when the table learned of it.
        detected_boot_ns: when zombie_detected was told; None when not yet.
        step_ns: the highest age that zombie_aged told; None when none was.
    """

    child: Child
    first_seen_boot_ns: int
    detected_boot_ns: int | None = None
    step_ns: int | None = None


@dataclass(frozen=True, slots=True)
class SavedStorm:
    """One parent's counter.

    Attributes:
        parent: whose; with its start time, since a pid may be reused meanwhile.
        began_boot_ns: when it began.
        detected: counted since then.
        reaped: of those.
        oldest_exit_boot_ns: when the oldest of them died; None when unknown.
        members: identities of its unreaped zombies, from pack_members() or pack_by_parent().
    """

    parent: Identity
    began_boot_ns: int
    detected: int = 0
    reaped: int = 0
    oldest_exit_boot_ns: int | None = None
    members: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class SavedState:
    """Everything that survives.

    Attributes:
        zombies: those told of one by one, and those too young to be told of.
        storms: the aggregates.
        saved_boot_ns: when this was written; None for a state that never was.
    """

    zombies: tuple[SavedZombie, ...] = ()
    storms: tuple[SavedStorm, ...] = ()
    saved_boot_ns: int | None = None

    def by_identity(self) -> dict[Identity, SavedZombie]:
        """Return the zombies by who they are."""
        return {zombie.child.identity: zombie for zombie in self.zombies}


EMPTY = SavedState()


def pack_members(members: Iterable[tuple[int, int]]) -> bytes:
    """Pack (pid, start_ticks) pairs, 12 bytes each.

    Raises:
        struct.error: a number is negative or too large.
    """
    packed = bytearray()
    for pid, start_ticks in members:
        packed += _MEMBER.pack(pid, start_ticks)
    return bytes(packed)


def pack_by_parent(members: Iterable[tuple[int, tuple[int, int]]]) -> dict[int, bytearray]:
    """Pack (pid, start_ticks) pairs that come with their parent's pid, parent by parent.

    One by one: there may be a million, and a list of so many takes 100 MB.
    """
    packed: dict[int, bytearray] = {}
    for parent_pid, (pid, start_ticks) in members:
        packed.setdefault(parent_pid, bytearray()).extend(_MEMBER.pack(pid, start_ticks))
    return packed


def unpack_members(members: bytes) -> Iterator[tuple[int, int]]:
    """Yield the (pid, start_ticks) pairs of pack_members()."""
    return _MEMBER.iter_unpack(members)


class Detection(NamedTuple):
    """Journal: zombie_detected was told."""

    zombie: SavedZombie


class Step(NamedTuple):
    """Journal: zombie_aged was told."""

    identity: Identity
    step_ns: int


class Ended(NamedTuple):
    """Journal: it was reaped, and that was told."""

    identity: Identity


class StormNote(NamedTuple):
    """Journal: a storm began, or took in these members."""

    storm: SavedStorm


class StormEnd(NamedTuple):
    """Journal: a storm ended."""

    parent: Identity


Note = Detection | Step | Ended | StormNote | StormEnd


def apply(state: SavedState, notes: Iterable[Note]) -> SavedState:
    """Return the state with the notes of a journal carried out, in their order."""
    zombies = state.by_identity()
    storms = {storm.parent: storm for storm in state.storms}
    gained: dict[Identity, list[bytes]] = {}
    for note in notes:
        match note:
            case Detection(zombie):
                zombies[zombie.child.identity] = _merged(zombies.get(zombie.child.identity), zombie)
            case Step(identity, step_ns):
                old = zombies.get(identity)
                if old is not None:
                    zombies[identity] = replace(old, step_ns=max(step_ns, old.step_ns or 0))
            case Ended(identity):
                zombies.pop(identity, None)
            case StormNote(storm):
                gained.setdefault(storm.parent, []).append(storm.members)
                known = storms.get(storm.parent, storm)
                storms[storm.parent] = replace(storm, members=known.members)
            case StormEnd(parent):
                storms.pop(parent, None)
                gained.pop(parent, None)
    return replace(
        state,
        zombies=tuple(zombies.values()),
        storms=tuple(
            replace(storm, members=_union(storm.members, gained.get(parent, ())))
            for parent, storm in storms.items()
        ),
    )


def _union(members: bytes, more: Iterable[bytes]) -> bytes:
    """Return packed members with others added, each once, in a stable order."""
    packs = [pack for pack in more if pack != members]
    if not packs:
        return members
    return pack_members(
        dict.fromkeys(pair for pack in (members, *packs) for pair in unpack_members(pack))
    )


def _merged(old: SavedZombie | None, new: SavedZombie) -> SavedZombie:
    """Return a zombie noted twice: the earliest detection and the highest step stay."""
    if old is None:
        return new
    steps = [step for step in (old.step_ns, new.step_ns) if step is not None]
    return replace(
        new,
        detected_boot_ns=new.detected_boot_ns
        if old.detected_boot_ns is None
        else old.detected_boot_ns,
        step_ns=max(steps, default=None),
    )
