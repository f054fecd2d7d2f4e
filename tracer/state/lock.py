"""One agent a state folder: a lock that the kernel drops when its holder dies."""

import fcntl
import os
from pathlib import Path

from tracer.errors import PermanentError

_FILE_MODE = 0o600


def take(path: Path) -> int:
    """Take the lock of that file, sign it with this process's pid, and return its descriptor.

    The lock lasts until the descriptor is closed or its holder is dead (flock(2)),
    so a killed agent leaves none behind; the pid in the file is only for people.
    A file in a folder that has become read-only can be locked, but not signed.

    Raises:
        PermanentError: another process holds it.
        OSError: the file can be neither made nor read.
    """
    try:
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        signs = True
    except OSError:
        if not path.exists():
            raise
        descriptor = open_own(path, os.O_RDONLY)
        signs = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if signs:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise PermanentError(
            f"another agent (pid {owner}) already works on this node with the state folder"
            f" {path.parent}: stop it first, or look on with `tracer --follow`"
        ) from None
    except OSError:
        # Locked, but the disk is too full for the signature: it holds all the same.
        return descriptor
    return descriptor


def open_own(path: Path, flags: int) -> int:
    """Open a file of the state folder: never through a link that somebody put there."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE)
