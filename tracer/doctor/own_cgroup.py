"""The memory limit of this process's cgroup, wherever a container's mounts show it."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")

_FILES = ("memory.max", "memory.limit_in_bytes")
"""Of cgroup v2 and v1."""
_NO_LIMIT = 1 << 60
"""Version 1 writes "no limit" as the largest multiple of the page size."""
_SEARCHED = 20_000
"""Cgroups at most; a node with 110 pods has some 500."""


def memory_limit(own_cgroup: bytes, pid: int, root: Path = CGROUPS) -> int | None:
    """Return the smallest limit of this cgroup and those above it, in bytes; None for none.

    Args:
        own_cgroup: /proc/self/cgroup.
        pid: of this process, as the cgroup files show it.
        root: where the cgroup file systems are mounted.
    """
    limits = [
        limit
        for folder in _folders(own_cgroup, pid, root)
        for name in _FILES
        if (limit := _read(folder / name)) is not None
    ]
    return min(limits, default=None)


def _folders(own_cgroup: bytes, pid: int, root: Path) -> Iterator[Path]:
    """Yield the cgroup's folder and those above it, the root left out."""
    found = _by_path(own_cgroup, root) or _by_search(pid, root)
    while found is not None and found != root and root in found.parents:
        yield found
        found = found.parent


def _by_path(own_cgroup: bytes, root: Path) -> Path | None:
    for line in own_cgroup.decode(errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        base = root if not controllers else root / "memory"
        if "memory" in controllers.split(",") or not controllers:
            folder = base / path.lstrip("/")
            # "/" in a cgroup namespace of its own, while the root is the host's.
            if path != "/" and any((folder / name).exists() for name in _FILES):
                return folder
    return None


def _by_search(pid: int, root: Path) -> Path | None:
    searched = 0
    for folder, _, files in os.walk(root):
        searched += 1
        if searched > _SEARCHED:
            return None
        if "cgroup.procs" in files and not {*_FILES}.isdisjoint(files):
            try:
                processes = Path(folder, "cgroup.procs").read_text()
            except OSError:
                continue
            if str(pid) in processes.split():
                return Path(folder)
    return None


def _read(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT else None
