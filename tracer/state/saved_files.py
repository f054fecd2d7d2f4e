"""The two files of a state folder as bytes, and back. Pure: no I/O, no clock.

Both are text, one JSON value a line, so that a person in trouble can read them.
The first line is a header; what follows is

- in the snapshot, one object for each zombie, then one for each storm;
- in the journal, one array for each thing noted since that snapshot.
"""

import json
import zlib

from tracer.state.saved import (
    Detection,
    Ended,
    Note,
    SavedState,
    SavedStorm,
    SavedZombie,
    Step,
    StormEnd,
    StormNote,
)
from tracer.state.saved_rows import (
    BadStateError,
    bad,
    identity,
    number,
    optional,
    storm_in,
    storm_out,
    zombie_in,
    zombie_out,
)

FORMAT = "zombie-tracer-state"
VERSION = 1
"""Of this layout. A file of another version is said once and ignored."""

_NO_CAUSE = "it is no state file of this agent"


def encode(state: SavedState, boot_id: str) -> bytes:
    """Return the snapshot file."""
    body = b"".join(
        [_line(zombie_out(zombie)) for zombie in state.zombies]
        + [_line(storm_out(storm)) for storm in state.storms]
    )
    return _header("snapshot", boot_id, state.saved_boot_ns, body) + body


def decode(data: bytes, boot_id: str) -> SavedState | None:
    """Return the state in a snapshot file; None when it is of another boot.

    Raises:
        BadStateError: it is damaged, of another version, or something else.
    """
    header, body = _split(data, "snapshot")
    if header["boot_id"] != boot_id:
        return None
    if header.get("crc32") != zlib.crc32(body):
        raise BadStateError("its checksum does not match: it is damaged or cut short")
    zombies: list[SavedZombie] = []
    storms: list[SavedStorm] = []
    for line in body.splitlines():
        value = _value(line)
        if not isinstance(value, dict):
            raise BadStateError(bad(value))
        if "members" in value:
            storms.append(storm_in(value))
        else:
            zombies.append(zombie_in(value))
    return SavedState(tuple(zombies), tuple(storms), optional(header, "saved_boot_ns"))


def encode_journal_header(boot_id: str) -> bytes:
    """Return the first line of a journal."""
    return _header("journal", boot_id, None, None)


def encode_note(note: Note) -> bytes:
    """Return one line of a journal."""
    match note:
        case Detection(zombie):
            return _line(["detected", zombie_out(zombie)])
        case Step(who, step_ns):
            return _line(["step", *who, step_ns])
        case Ended(who):
            return _line(["gone", *who])
        case StormNote(storm):
            return _line(["storm", storm_out(storm)])
        case StormEnd(parent):
            return _line(["storm_end", *parent])


def decode_journal(data: bytes, boot_id: str) -> tuple[list[Note], int]:
    """Return the notes of a journal, and how many lines of it made no sense.

    A last line without its newline was being written when the agent died: it is
    left out and not counted. A journal of another boot has no notes.

    Raises:
        BadStateError: its first line is no header of this version.
    """
    header, body = _split(data, "journal")
    if header["boot_id"] != boot_id:
        return [], 0
    notes: list[Note] = []
    bad = 0
    for line in body[: body.rfind(b"\n") + 1].splitlines():
        try:
            notes.append(_note_in(_value(line)))
        except BadStateError:
            bad += 1
    return notes, bad


def _header(kind: str, boot_id: str, saved_boot_ns: int | None, body: bytes | None) -> bytes:
    return _line(
        {
            "format": FORMAT,
            "version": VERSION,
            "kind": kind,
            "boot_id": boot_id,
            "saved_boot_ns": saved_boot_ns,
            "crc32": None if body is None else zlib.crc32(body),
        }
    )


def _split(data: bytes, kind: str) -> tuple[dict[str, object], bytes]:
    line, newline, body = data.partition(b"\n")
    if not newline:
        raise BadStateError(_NO_CAUSE)
    header = _value(line[:4096])
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BadStateError(_NO_CAUSE)
    if header.get("version") != VERSION or header.get("kind") != kind:
        raise BadStateError(
            f"it is a {header.get('kind')!r:.40} of version {header.get('version')!r:.40},"
            f" not a {kind!r} of version {VERSION}"
        )
    if not isinstance(header.get("boot_id"), str):
        raise BadStateError(bad(header.get("boot_id")))
    return header, body


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _value(line: bytes) -> object:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadStateError(bad(line)) from error
    return value


def _note_in(value: object) -> Note:
    match value:
        case ["detected", dict() as row]:
            return Detection(zombie_in(row))
        case ["step", pid, start, step_ns]:
            return Step(identity([pid, start]), number(step_ns))
        case ["gone", pid, start]:
            return Ended(identity([pid, start]))
        case ["storm", dict() as row]:
            return StormNote(storm_in(row))
        case ["storm_end", pid, start]:
            return StormEnd(identity([pid, start]))
        case _:
            raise BadStateError(bad(value))
