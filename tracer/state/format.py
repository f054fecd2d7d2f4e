"""The state file: what its lines say, and what they add up to. Pure: no I/O, no clock.

Each line is a JSON array `[crc32, [kind, record]]`; the checksum is that of the second
element's bytes. The first line names the format, its version and the boot. Lines that
are applied twice change nothing.
"""

import json
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tracer.clock import TICK_NS
from tracer.model import Cause, Cgroup, Child, Identity
from tracer.state.codec import PID_LIMIT, BadStateError, decode, encode
from tracer.table.pidset import BLOCK_BYTES, BLOCK_PIDS, entries_of

FORMAT = "zombie-tracer-state"
VERSION = 2
MAX_ZOMBIES = 100_000

EMPTY_BLOCK = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True)
class SavedZombie:
    """A zombie that the table lists.

    Attributes:
        child: what was known about it; its exit time and its forker are known to
            nobody else once the agent that saw them is gone.
        first_seen_boot_ns: when the table learned of it.
        detected_boot_ns: when it was detected; None while no zombie_detected is written.
        step_ns: the highest age for which zombie_aged was written; None without one.
    """

    child: Child
    first_seen_boot_ns: int
    detected_boot_ns: int | None = None
    step_ns: int | None = None


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


class Aged(NamedTuple):
    """zombie_aged was written."""

    identity: Identity
    step_ns: int


class Reaped(NamedTuple):
    """The zombie is gone, and zombie_reaped was written."""

    identity: Identity


class Block(NamedTuple):
    """A part of the set of counted zombies, as PidSet.blocks() yields it."""

    number: int
    entries: bytes


class Storms(NamedTuple):
    """All storms that have zombies, and the blocks that changed. One line, so it is whole."""

    storms: tuple[SavedStorm, ...]
    blocks: tuple[Block, ...]


Note = SavedZombie | Aged | Reaped | Storms

_KINDS: dict[str, type[Note]] = {
    "zombie": SavedZombie,
    "aged": Aged,
    "reaped": Reaped,
    "storms": Storms,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


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


def encode_note(note: Note) -> bytes:
    """Return the line of a note."""
    return _line([_NAMES[type(note)], note])


def decode_note(line: bytes, now_boot_ns: int) -> Note:
    """Return the note of a line.

    Raises:
        BadStateError: the line is damaged.
    """
    match _value(line):
        case [str(kind), record] if kind in _KINDS:
            note: Note = decode(_KINDS[kind], record, now_boot_ns)
            return note
    raise BadStateError("it is of an unknown kind")


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


@dataclass(slots=True)
class SavedState:
    """What the lines of a state file add up to: zombies, and storms and blocks by number."""

    zombies: dict[Identity, SavedZombie] = field(default_factory=dict)
    storms: dict[int, SavedStorm] = field(default_factory=dict)
    blocks: dict[int, bytes] = field(default_factory=dict)

    def take(self, note: Note) -> bool:
        """Apply a note; return False, and do nothing, when it is beyond the bounds."""
        match note:
            case SavedZombie(child=child):
                return self._take_zombie(child.identity, note)
            case Aged(identity, step_ns) if identity in self.zombies:
                old = self.zombies[identity]
                self.zombies[identity] = replace(old, step_ns=max(step_ns, old.step_ns or 0))
            case Reaped(identity):
                self.zombies.pop(identity, None)
            case Storms(storms, blocks):
                if any(not _sound(block) for block in blocks):
                    return False
                self.storms = {storm.number: storm for storm in storms}
                self.blocks.update(blocks)
                for block in blocks:
                    if block.entries == EMPTY_BLOCK:
                        del self.blocks[block.number]
        return True

    def _take_zombie(self, identity: Identity, new: SavedZombie) -> bool:
        """Of a zombie that was noted twice, the first detection and the highest step stay."""
        old = self.zombies.get(identity)
        if old is None and len(self.zombies) >= MAX_ZOMBIES:
            return False
        if old is not None:
            detected, step_ns = old.detected_boot_ns, max(old.step_ns or 0, new.step_ns or 0)
            detected = new.detected_boot_ns if detected is None else detected
            new = replace(new, detected_boot_ns=detected, step_ns=step_ns or None)
        self.zombies[identity] = new
        return True

    def notes(self) -> Iterator[Note]:
        """Yield what a file that says all this must hold."""
        yield from self.zombies.values()
        if self.storms or self.blocks:
            yield Storms(tuple(self.storms.values()), tuple(map(Block._make, self.blocks.items())))

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
