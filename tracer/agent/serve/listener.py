"""The agent's socket in the state folder: only root can reach it, and only one agent has it."""

import os
import socket
import stat
from pathlib import Path

from tracer import protocol
from tracer.state.files import check_folder
from tracer.state.store import LOCK, PART, STATE

_BACKLOG = 64
_FOLDER_MODE = 0o700
_SOCKET_MODE = 0o600
_OWN_FILES = frozenset({protocol.SOCKET, STATE, PART, LOCK})


def listen(folder: Path) -> socket.socket:
    """Return the listening socket, closed to everyone but this user from its first moment.

    Every root in a container looks alike to peer credentials, so the modes protect it: the
    folder is made inaccessible to others before the socket is in it. What an earlier agent
    left is removed: the caller holds the lock of the folder, so that agent is dead.

    Raises:
        OSError: it cannot be made; `strerror` says why.
    """
    path = folder / protocol.SOCKET
    if len(os.fsencode(path)) > protocol.PATH_LIMIT_BYTES:
        raise OSError(
            None, f"the path is longer than the {protocol.PATH_LIMIT_BYTES} bytes a socket's may be"
        )
    check_folder(folder)
    if stat.S_IMODE(folder.stat().st_mode) != _FOLDER_MODE:
        _close_to_others(folder)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # Not umask(2): that is of all threads. Linux gives the socket's file this mode.
        os.fchmod(listener.fileno(), _SOCKET_MODE)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError:
        listener.close()
        raise
    return listener


def _close_to_others(folder: Path) -> None:
    """Make a folder inaccessible to others; not one that has other uses, such as /tmp."""
    foreign = sorted({entry.name for entry in folder.iterdir()} - _OWN_FILES)
    if foreign:
        raise OSError(
            None, f"other users may enter it, and it holds files of others, such as {foreign[0]!r}"
        )
    folder.chmod(_FOLDER_MODE)
