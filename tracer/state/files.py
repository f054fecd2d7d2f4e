"""Opening files in the state folder: only plain files of our own, without ever blocking."""

import os
import stat
from pathlib import Path

_NAMES = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFREG: "a regular file",
    stat.S_IFSOCK: "a socket",
}


class UnsafeFileError(OSError):
    """What lies at that path must not be used; `strerror` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(None, why)


def open_own(path: Path, flags: int) -> int:
    """Open a regular file of ours, and return its descriptor.

    It is checked before it is opened, since opening a device can have an effect, and
    afterwards, since somebody may have replaced it meanwhile.

    Raises:
        UnsafeFileError: it is something else, or others own it or may write to it.
        OSError: it cannot be opened.
    """
    if os.path.lexists(path):
        _check(os.lstat(path), stat.S_IFREG)
    safe = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(path, flags | safe, 0o600)
    try:
        _check(os.fstat(descriptor), stat.S_IFREG)
    except UnsafeFileError:
        os.close(descriptor)
        raise
    return descriptor


def check_folder(path: Path) -> None:
    """Check that a folder is safe to work in.

    Raises:
        UnsafeFileError: it is something else, or others own it or may write to it.
        OSError: there is none.
    """
    _check(os.lstat(path), stat.S_IFDIR)


def _check(found: os.stat_result, kind: int) -> None:
    is_kind = stat.S_IFMT(found.st_mode)
    if is_kind != kind:
        raise UnsafeFileError(f"it is {_NAMES.get(is_kind, 'a device')}, not {_NAMES[kind]}")
    if found.st_uid not in (0, os.geteuid()):
        raise UnsafeFileError(f"it belongs to another user (uid {found.st_uid})")
    sticky = kind == stat.S_IFDIR and found.st_mode & stat.S_ISVTX
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        raise UnsafeFileError("other users may write to it")
