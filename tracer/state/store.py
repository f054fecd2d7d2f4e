"""The state folder: what survives the agent's restart, upgrade and kill -9.

A snapshot, replaced as a whole from time to time, and a journal to which every
told detection is appended at once. Bytes handed to write(2) survive the death of
the process that wrote them, so nothing is synced: what a crash of the machine
loses is of no use after it, since the boot id differs.

No trouble with the folder stops the agent: it is said once, and again only after
the folder had worked in between. What stops it is a second agent at work in it.
"""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

from tracer.model import Identity, Zombie
from tracer.state import lock
from tracer.state.saved import (
    EMPTY,
    Detection,
    Ended,
    Note,
    SavedState,
    SavedStorm,
    SavedZombie,
    Step,
    StormEnd,
    StormNote,
    apply,
)
from tracer.state.saved_files import (
    decode,
    decode_journal,
    encode,
    encode_journal_header,
    encode_note,
)
from tracer.state.saved_rows import BadStateError

SNAPSHOT = "state"
JOURNAL = "journal"
LOCK = "lock"

JOURNAL_LIMIT_BYTES = 4 << 20
"""Past this, wants_save() asks for a snapshot before its time."""

_READ_LIMIT_BYTES = 256 << 20
"""A million zombies take 20 MB: what is larger than this is not ours."""

_FOLDER_MODE = 0o700


class StateStore:
    """The state folder of one agent. Not thread-safe; the engine's thread owns it.

    Constructing it touches nothing. Without lock() it only ever reads.

    Args:
        path: the folder; None keeps nothing, and every method does nothing.
        boot_id: of this boot, as in /proc/sys/kernel/random/boot_id.
        say: told of trouble, one sentence each time; by default a log warning.
    """

    def __init__(
        self, path: Path | None, boot_id: str, *, say: Callable[[str], None] | None = None
    ) -> None:
        self._path = path
        self._boot_id = boot_id
        self._say = say or logging.getLogger(__name__).warning
        self._lock: int | None = None
        self._journal: int | None = None
        self._journal_bytes = 0
        self._writes = False
        self._in_trouble = False

    def load(self) -> SavedState:
        """Return what an earlier agent of this boot left; empty when there is nothing.

        Damaged files are said and ignored. Whoever is asked for here may have been
        reaped meanwhile, and its pid reused: compare identities with a snapshot.
        """
        state = EMPTY
        if self._path is None:
            return state
        data = self._read(SNAPSHOT)
        if data is not None:
            try:
                state = decode(data, self._boot_id) or EMPTY
            except BadStateError as error:
                self._ignore(SNAPSHOT, str(error))
        return apply(state, self._notes())

    def lock(self) -> None:
        """Become the one agent of this folder, and begin to write to it.

        Raises:
            PermanentError: another agent works in it.
        """
        if self._path is None or self._lock is not None:
            return
        try:
            self._path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._writes = True
        except OSError as error:
            self._trouble("make", self._path, error)
        path = self._path / LOCK
        try:
            self._lock = lock.take(path)
        except OSError as error:
            self._writes = False
            self._trouble("write", path, error)

    def note_detected(self, zombie: Zombie) -> None:
        """Remember that zombie_detected was told of it.

        Call it beside writing the line: a kill -9 between the two is the only
        moment in which a line can be lost (note first) or doubled (line first).
        """
        self._note(
            Detection(SavedZombie(zombie.child, zombie.first_seen_boot_ns, zombie.detected_boot_ns))
        )

    def note_step(self, identity: Identity, step_ns: int) -> None:
        """Remember that zombie_aged was told of this age."""
        self._note(Step(identity, step_ns))

    def note_gone(self, identity: Identity) -> None:
        """Remember that it was reaped, and that this was told."""
        self._note(Ended(identity))

    def note_storm(self, storm: SavedStorm) -> None:
        """Remember that a storm began or grew: its counts now, and only its new members."""
        self._note(StormNote(storm))

    def note_storm_ended(self, parent: Identity) -> None:
        """Remember that a storm ended."""
        self._note(StormEnd(parent))

    def wants_save(self) -> bool:
        """Return whether the journal has grown long enough for a snapshot before its time."""
        return self._journal_bytes > JOURNAL_LIMIT_BYTES

    def save(self, state: SavedState) -> None:
        """Replace the snapshot as a whole, and begin the journal anew."""
        if self._path is None or not self._writes:
            return
        part = self._path / f"{SNAPSHOT}.part"
        try:
            self._path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            descriptor = lock.open_own(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                _write_all(descriptor, encode(state, self._boot_id))
            finally:
                os.close(descriptor)
            part.replace(self._path / SNAPSHOT)
            self._begin_journal()
        except OSError as error:
            # The half-written file would keep a full disk full.
            _unlink(part)
            self._trouble("write", part, error)
        else:
            self._in_trouble = False

    def close(self) -> None:
        """Let go of the folder; its files stay for the next agent. A second call does nothing."""
        self._writes = False
        for descriptor in (self._journal, self._lock):
            if descriptor is not None:
                os.close(descriptor)
        self._journal = self._lock = None

    def _note(self, note: Note) -> None:
        if not self._writes:
            return
        try:
            if self._journal is None:
                self._open_journal()
            assert self._journal is not None  # noqa: S101 - just opened
            line = encode_note(note)
            try:
                _write_all(self._journal, line)
            except OSError:
                # Half a line would spoil the next one.
                os.ftruncate(self._journal, self._journal_bytes)
                raise
            self._journal_bytes += len(line)
            self._in_trouble = False
        except OSError as error:
            self._trouble("write", JOURNAL, error)

    def _open_journal(self) -> None:
        """Go on with the journal that is there, when it is sound and of this boot."""
        assert self._path is not None  # noqa: S101 - _writes says so
        header = encode_journal_header(self._boot_id)
        data = self._read(JOURNAL) or b""
        if not data.startswith(header):
            self._begin_journal()
            return
        self._journal = lock.open_own(self._path / JOURNAL, os.O_WRONLY | os.O_APPEND)
        self._journal_bytes = data.rfind(b"\n") + 1
        os.ftruncate(self._journal, self._journal_bytes)

    def _begin_journal(self) -> None:
        """Open it anew by its name: the old one may have been removed by hand."""
        assert self._path is not None  # noqa: S101 - _writes says so
        if self._journal is not None:
            os.close(self._journal)
            self._journal = None
        self._journal = lock.open_own(
            self._path / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC
        )
        self._journal_bytes = 0
        header = encode_journal_header(self._boot_id)
        try:
            _write_all(self._journal, header)
        except OSError:
            # Notes without a header would make no sense to anybody.
            os.close(self._journal)
            self._journal = None
            raise
        self._journal_bytes = len(header)

    def _notes(self) -> list[Note]:
        data = self._read(JOURNAL)
        if not data:
            return []
        try:
            notes, bad = decode_journal(data, self._boot_id)
        except BadStateError as error:
            self._ignore(JOURNAL, str(error))
            return []
        if bad:
            self._ignore(JOURNAL, f"{bad} of its lines make no sense", whole=False)
        return notes

    def _read(self, name: str) -> bytes | None:
        assert self._path is not None  # noqa: S101 - load() has asked
        path = self._path / name
        try:
            # Not a FIFO that somebody left there: opening one would block.
            descriptor = lock.open_own(path, os.O_RDONLY | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(_READ_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._trouble("read", path, error)
            return None
        if len(data or b"") > _READ_LIMIT_BYTES:
            self._ignore(name, f"it is larger than {_READ_LIMIT_BYTES >> 20} MB")
            return None
        return data

    def _ignore(self, name: str, why: str, *, whole: bool = True) -> None:
        what = "it is ignored" if whole else "they are ignored"
        self._say(
            f"state file {self._path}/{name}: {why}; {what},"
            " and zombies reported before may be reported again"
        )

    def _trouble(self, doing: str, path: Path | str, error: OSError) -> None:
        if self._in_trouble:
            return
        self._in_trouble = True
        what = f"cannot {doing} {path} in the state folder {self._path}"
        why = os.strerror(error.errno or errno.EIO)
        if doing == "read" and not self._writes:
            self._say(
                f"{what} ({why}): going on without the times of death that the agent saw;"
                " run as the agent's user, or name another folder with --state-dir"
            )
            return
        self._say(
            f"{what} ({why}): going on without it; after a"
            " restart, zombies may be reported again. Make the folder writable and give it"
            " room, or name another with --state-dir"
        )


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        # Said by the caller already: this is the same folder in the same trouble.
        return
