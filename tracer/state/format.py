"""The state file: what its lines say, and what they add up to. Pure: no I/O, no clock.

Each line is a JSON array `[crc32, change]`; the checksum is that of the second element's
bytes. The first line names the format, its version and the boot.
"""

import json
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tracer.clock import TICK_NS
from tracer.model import Cause, Cgroup, Child, Identity
from tracer.model.event import EventName
from tracer.state.codec import PID_LIMIT, BadStateError, decode, encode
from tracer.table.pidset import BLOCK_BYTES, BLOCK_PIDS, entries_of

FORMAT = "zombie-tracer-state"
VERSION = 2
MAX_ZOMBIES = 100_000

EMPTY_BLOCK = bytes(BLOCK_BYTES)


class LogLine(NamedTuple):
    """A line about a zombie, as far as the next agent needs it to write it again.

    Attributes:
        event: zombie_detected, zombie_aged or zombie_reaped.
        at_boot_ns: its time; that of a reaped zombie is when it was gone.
        step_ns: the age that zombie_aged reports; None in the others.
    """

    event: EventName
    at_boot_ns: int
    step_ns: int | None = None


@dataclass(frozen=True, slots=True)
class SavedZombie:
    """A zombie that the table lists, or that is too young for it.

    Attributes:
        child: what was known about it; its exit time and its forker are known to
            nobody else once the agent that saw them is gone.
        first_seen_boot_ns: when it was first seen.
        detected_boot_ns: when it was detected; None while no zombie_detected is written.
        step_ns: the highest age for which zombie_aged was written; None without one.
        queued_boot_ns: when it was detected, while its zombie_detected is still to be written.
        in_doubt: a line that may be in the log already, and has to be written again.
    """

    child: Child
    first_seen_boot_ns: int
    detected_boot_ns: int | None = None
    step_ns: int | None = None
    queued_boot_ns: int | None = None
    in_doubt: LogLine | None = None


@dataclass(frozen=True, slots=True)
class SavedStorm:
    """The counts of a storm, and what the next agent needs to attribute it.

    Attributes:
        number: stands for the storm in blocks.
        parent, comm: the process whose zombies are counted, and its name.
        began_boot_ns, detected, reaped, oldest_boot_ns: as in StormCounter.
        cgroup: by which the storm was attributed; None when unknown or filtered out.
        cause: the cause that was found.
    """

    number: int
    parent: Identity
    comm: str | None
    began_boot_ns: int
    detected: int
    reaped: int
    oldest_boot_ns: int | None = None
    cgroup: Cgroup | None = None
    cause: Cause | None = None


class Block(NamedTuple):
    """A part of the set of counted zombies, as PidSet.blocks() yields it."""

    number: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What one line says: all of it or, if the line is damaged, nothing.

    One with a `line` is noted before that line of the log is written. The line is in doubt until a
    change that says nothing (WRITTEN) follows, or another line's.

    Attributes:
        zombie: is new, or takes the place of what was known about it.
        gone: was reaped, and zombie_reaped was written if it had been reported.
        storms: those that are new or have changed.
        over: numbers of storms that have no zombies any more.
        blocks: those that have changed.
        line: is about to be written, and makes the change of `zombie` or `gone` true.
    """

    zombie: SavedZombie | None = None
    gone: Identity | None = None
    storms: tuple[SavedStorm, ...] | None = None
    over: tuple[int, ...] | None = None
    blocks: tuple[Block, ...] | None = None
    line: LogLine | None = None


WRITTEN = Change()
"""The line that was noted last is written."""


def header(boot_id: str) -> bytes:
    """Return the first line of a file of this boot."""
    return _line([FORMAT, VERSION, boot_id])


def is_header(line: bytes, boot_id: str) -> bool:
    """Return whether a file that begins with this line is of this boot.

    Raises:
        BadStateError: it is not a state file, or one of another version.
    """
    match _value(line):
        case [name, version, boot] if name == FORMAT:
            if version != VERSION:
                raise BadStateError(f"it has format version {version!r:.20}, not {VERSION}")
            return bool(boot == boot_id)
    raise BadStateError("it is not a state file")


def encode_change(change: Change) -> bytes:
    """Return the line of a change."""
    return _line(change)


def decode_change(line: bytes, now_boot_ns: int) -> Change:
    """Return the change of a line.

    Raises:
        BadStateError: the line is damaged.
    """
    change: Change = decode(Change, _value(line), now_boot_ns)
    return change


def _line(value: object) -> bytes:
    body = encode(value)
    return b"[%d,%s]\n" % (zlib.crc32(body), body)


def _value(line: bytes) -> object:
    checksum, _, body = line.partition(b",")
    if not body.endswith(b"]\n") or checksum != b"[%d" % zlib.crc32(body[:-2]):
        raise BadStateError("the checksum of a line does not match")
    try:
        value: object = json.loads(body[:-2].decode())
    except (ValueError, RecursionError) as error:
        raise BadStateError(str(error)) from error
    return value


class Unconfirmed(NamedTuple):
    """The line that was noted last, and the zombie as it was before."""

    line: LogLine
    before: SavedZombie


@dataclass(slots=True)
class SavedState:
    """What the lines of a state file add up to: zombies, and storms and blocks by number.

    Attributes:
        unconfirmed: the line that was noted last; None when it is known to be written.
    """

    zombies: dict[Identity, SavedZombie] = field(default_factory=dict)
    storms: dict[int, SavedStorm] = field(default_factory=dict)
    blocks: dict[int, bytes] = field(default_factory=dict)
    unconfirmed: Unconfirmed | None = None

    def take(self, change: Change) -> bool:
        """Apply a change; return False, and do nothing, when it is beyond the bounds."""
        blocks = change.blocks or ()
        if not all(map(_sound, blocks)):
            return False
        if change.zombie is not None:
            identity = change.zombie.child.identity
            if identity not in self.zombies and len(self.zombies) >= MAX_ZOMBIES:
                return False
        if change.line is not None or change == WRITTEN:
            self.unconfirmed = self._noted(change)
        if change.zombie is not None:
            self.zombies[change.zombie.child.identity] = change.zombie
        if change.gone is not None:
            self.zombies.pop(change.gone, None)
        self.storms.update((storm.number, storm) for storm in change.storms or ())
        for number in change.over or ():
            self.storms.pop(number, None)
        self.blocks.update(blocks)
        for number, entries in blocks:
            if entries == EMPTY_BLOCK:
                del self.blocks[number]
        return True

    def _noted(self, change: Change) -> Unconfirmed | None:
        zombie = change.zombie
        identity = change.gone if zombie is None else zombie.child.identity
        before = zombie if identity is None else self.zombies.get(identity, zombie)
        if change.line is None or before is None:
            return None
        return Unconfirmed(change.line, before)

    def withdraw(self, *, in_doubt: bool) -> list[Change]:
        """Return what makes the state as if the last line had never been noted.

        Args:
            in_doubt: the line may be written all the same, so it is marked when it is
                written again; else it is known not to be.
        """
        if self.unconfirmed is None:
            return []
        line, before = self.unconfirmed
        if line.event is EventName.ZOMBIE_DETECTED:
            queued = line.at_boot_ns
            before = replace(before, detected_boot_ns=None, step_ns=None, queued_boot_ns=queued)
        if in_doubt:
            before = replace(before, in_doubt=line)
        return [Change(zombie=before), WRITTEN]

    def changes(self) -> Iterator[Change]:
        """Yield what makes an empty state this one."""
        yield from (Change(zombie=zombie) for zombie in self.zombies.values())
        if self.unconfirmed is not None:
            line, before = self.unconfirmed
            identity = before.child.identity
            zombie = self.zombies.get(identity)
            yield Change(zombie=before)
            yield Change(zombie, identity if zombie is None else None, line=line)
        if self.storms or self.blocks:
            blocks = map(Block._make, self.blocks.items())
            yield Change(storms=tuple(self.storms.values()), blocks=tuple(blocks))

    def members(self, now_boot_ns: int) -> "dict[int, array[int]]":
        """Return pid, start_ticks, pid, … of the counted zombies, by number of their storm."""
        members = {number: array("Q") for number in self.storms}
        for number, block in self.blocks.items():
            for pid, start_ticks, storm in entries_of(number, block):
                if storm in members and start_ticks <= now_boot_ns // TICK_NS:
                    members[storm].extend((pid, start_ticks))
        return members


def _sound(block: Block) -> bool:
    return block.number < PID_LIMIT // BLOCK_PIDS and len(block.entries) == BLOCK_BYTES
