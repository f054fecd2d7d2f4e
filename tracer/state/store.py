"""The state folder: what survives the agent's restart, upgrade and kill -9.

One file, to which every change is appended at once, and which is written anew when it
has grown. Bytes given to write(2) survive the death of the process that wrote them, so
nothing is synced: what a crash of the machine loses is of no use after it, since the
boot id differs. No error in the folder stops the agent; a second agent in it does.
"""

import errno
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO

from tracer.clock import boot_ns
from tracer.state import lock
from tracer.state.codec import BadStateError
from tracer.state.files import UnsafeFileError, check_folder, open_own
from tracer.state.format import (
    Change,
    SavedState,
    decode_change,
    encode_change,
    header,
    is_header,
)

STATE = "state"
PART = "state.part"
LOCK = "lock"

GROWTH_BYTES = 4 << 20
"""The file is written anew when it has grown by this, and by its own size."""

READ_LIMIT_BYTES = 128 << 20
HEADER_LIMIT_BYTES = 4096
LINE_LIMIT_BYTES = 32 << 20
"""One line may hold all counted zombies: four million take 25 MB in the worst case."""

_BATCH_BYTES = 256 << 10
_NOTHING = b"\0 \n"


class StateStore:
    """The state folder of one agent. Not thread-safe. Without lock() it only ever reads.

    Args:
        path: the folder; None keeps nothing, and every method does nothing.
        boot_id: of this boot, as in /proc/sys/kernel/random/boot_id.
        say: takes each error in one sentence, once until the folder has worked again;
            by default it is logged as a warning.
    """

    def __init__(
        self, path: Path | None, boot_id: str, *, say: Callable[[str], None] | None = None
    ) -> None:
        self._folder = path or Path()
        self._enabled = path is not None
        self._boot_id = boot_id
        self._say = say or logging.getLogger(__name__).warning
        self._said = ""
        self._for_writing = False
        self._lock: int | None = None
        self._file: int | None = None
        """The file of this boot, to be appended to; only with lock()."""
        self._size = self._base = 0

    def lock(self) -> None:
        """Become the one agent of this folder, and begin to write to it.

        Raises:
            PermanentError: another agent works in it.
        """
        if not self._enabled or self._lock is not None:
            return
        self._for_writing = True
        try:
            self._make_folder()
            self._lock = lock.take(self._folder / LOCK)
        except OSError as error:
            self._failed("lock", error)

    def load(self, now_boot_ns: int | None = None) -> SavedState:
        """Return what an earlier agent of this boot left; empty when there is nothing.

        Damaged lines are reported and skipped. A zombie in it may have been reaped
        meanwhile, and its pid reused: compare identities with a snapshot.
        """
        state = SavedState()
        if not self._enabled:
            return state
        path = self._folder / STATE
        try:
            check_folder(self._folder)
            with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
                if os.fstat(file.fileno()).st_size > READ_LIMIT_BYTES:
                    raise UnsafeFileError(f"it is larger than {READ_LIMIT_BYTES >> 20} MB")
                if is_header(file.readline(HEADER_LIMIT_BYTES), self._boot_id):
                    self._read(file, state, now_boot_ns or boot_ns())
        except FileNotFoundError:
            pass
        except BadStateError as error:
            self._say(f"state file {path} is ignored: {error}. {self._effect_now}")
        except OSError as error:
            # Where lock() has failed, it has said already that the folder cannot be used.
            if self.writes or not self._for_writing:
                self._failed("read", error)
        return state

    def _read(self, file: IO[bytes], state: SavedState, now_boot_ns: int) -> None:
        """Apply the lines after the header.

        What follows the last newline is half a line: a write was cut short by a full disk or a
        kill, or, for a reader, it is going on.
        """
        damaged, lines, size = 0, 1, file.tell()
        while (line := file.readline(LINE_LIMIT_BYTES)).endswith(b"\n"):
            lines, size = lines + 1, size + len(line)
            try:
                damaged += not state.take(decode_change(line, now_boot_ns))
            except BadStateError:
                damaged += 1
        damaged += len(line) == LINE_LIMIT_BYTES
        found = [f"damaged lines skipped: {damaged}"] if damaged else []
        if self._for_writing and line.strip(_NOTHING):
            found.append("its last line is incomplete and is ignored")
        if found:
            said = "; ".join(found)
            self._say(f"state file {self._folder / STATE}: {said}. {self._effect_now}")
        self._size = 0 if damaged else size
        self._base = size * (len(state.zombies) + 2) // lines  # if each line has the same length

    @property
    def writes(self) -> bool:
        """Whether this is the agent that writes to the folder."""
        return self._lock is not None

    @property
    def grown(self) -> bool:
        """Whether the file holds much that later lines have made void."""
        return self._size - self._base > max(GROWTH_BYTES, self._base)

    @property
    def needs_rewrite(self) -> bool:
        """Whether append() is not enough: the file is missing, incomplete or has grown."""
        return self.writes and (not self._size or self.grown or not self._in_place())

    def append(self, changes: Iterable[Change]) -> bool:
        """Add lines to the file; return whether they are in it.

        They survive a kill -9 from here on.
        """
        if not self.writes or not self._size:
            return False
        try:
            if self._file is None:
                self._file = open_own(self._folder / STATE, os.O_WRONLY | os.O_APPEND)
                os.ftruncate(self._file, self._size)
            self._size += _write(self._file, map(encode_change, changes))
        except OSError as error:
            # Half a line may be left: nothing more goes into this file.
            self._close_file()
            self._failed("write", error)
            return False
        self._said = ""
        return True

    def rewrite(self, changes: Iterable[Change]) -> bool:
        """Replace the file by one with these lines; return whether that worked."""
        if not self.writes:
            return False
        part = self._folder / PART
        descriptor = None
        try:
            self._make_folder()
            descriptor = open_own(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            size = _write(descriptor, chain([header(self._boot_id)], map(encode_change, changes)))
            part.replace(self._folder / STATE)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
                with suppress(OSError):
                    part.unlink()  # it would keep a full disk full
            self._failed("write", error)
            return False
        self._close_file()
        self._file, self._size, self._base = descriptor, size, size
        self._said = ""
        return True

    def close(self) -> None:
        """Let go of the folder; its files stay for the next agent. A second call does nothing."""
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _make_folder(self) -> None:
        with suppress(FileExistsError):  # check_folder() says what is there instead
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(self._folder)

    def _in_place(self) -> bool:
        """Return whether the file of that name is still the one that is open."""
        try:
            return self._file is None or os.path.samestat(
                os.fstat(self._file), os.lstat(self._folder / STATE)
            )
        except OSError:
            return False

    def _close_file(self) -> None:
        self._size = 0
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def _effect_now(self) -> str:
        """What follows when the state cannot be read."""
        if self._for_writing:
            return "Zombies that were reported before may be reported again now."
        return "Exit times that only the agent saw are not shown."

    def _failed(self, doing: str, error: OSError) -> None:
        remedy = "Make the folder writable and free some space"
        if isinstance(error, UnsafeFileError):
            remedy = "Remove what is there"
        elif error.errno == errno.EROFS:
            remedy = "Mount a writable folder there, turn the state off with --state-dir none"
        elif doing == "read":
            remedy = "Run as the agent's user"
        effect = "After a restart of the agent, zombies may be reported again."
        if doing == "read":
            effect = self._effect_now
        why = f"cannot {doing} the state in {self._folder}: {error.strerror}"
        said = f"{why}. {effect} {remedy}, or name another folder with --state-dir."
        if said != self._said:
            self._said = said
            self._say(said)


def _write(descriptor: int, lines: Iterable[bytes]) -> int:
    """Write lines, many at once; return how many bytes they have."""
    size, batch = 0, bytearray()
    for line in lines:
        batch += line
        if len(batch) >= _BATCH_BYTES:
            size += _write_all(descriptor, batch)
            batch = bytearray()
    return size + _write_all(descriptor, batch)


def _write_all(descriptor: int, data: bytes | bytearray) -> int:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    return len(data)
