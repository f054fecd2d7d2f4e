"""One agent per state folder: a lock that the kernel drops when its holder dies."""

import fcntl
import os
from pathlib import Path

from tracer.errors import PermanentError
from tracer.state.files import open_own


def take(path: Path) -> int:
    """Lock that file, write this process's pid to it, and return its descriptor.

    The lock lasts until the descriptor is closed or its holder is dead (flock(2)),
    so a killed agent leaves none behind; the pid in the file is only for people.
    A file in a folder that has become read-only can be locked, but not written.

    Raises:
        PermanentError: another process holds the lock.
        OSError: the file can be neither made nor read.
    """
    try:
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        writable = True
    except OSError:
        if not path.exists():
            raise
        descriptor = open_own(path, os.O_RDONLY)
        writable = False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if writable:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise PermanentError(
            f"another agent (pid {owner}) already uses the state folder {path.parent}:"
            " stop it first, or watch beside it with `tracer --follow`"
        ) from None
    except OSError:
        # Locked, but the disk is too full for the pid: the lock holds all the same.
        return descriptor
    return descriptor
