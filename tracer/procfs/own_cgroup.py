"""The cgroup of this process, as the node sees it.

In a cgroup namespace of its own a process reads `/` as its cgroup, and everybody else's
paths relative to it (cgroup_namespaces(7)). The path that the node's init would read is
found in init's mounts of the hierarchies, as the folder whose cgroup.procs has this pid.
Where init may not be read, kthreadd's are read. No tenant can be either of the two, so
that what is mounted there is the kernel's.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tracer.procfs.fs import ProcFs

INITIAL_NAMESPACE = "cgroup:[4026531835]"
"""PROC_CGROUP_INIT_INO, include/linux/proc_ns.h."""

_V1_CONTROLLERS = frozenset({"pids", "memory", "cpu"})
_KTHREADD = 2
_MAX_FOLDERS = 20_000
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class OwnCgroup:
    """Where this process is among the node's cgroups.

    Attributes:
        paths: its cgroups as the node's init would read them, one for each hierarchy that
            differs, the version 2 one first; () when they cannot be found.
        relative: /proc shows paths relative to its cgroup, not to the node's root.
        initial: the node's root is the machine's: the node is not itself a container with
            a cgroup namespace of its own.
    """

    paths: tuple[str, ...]
    relative: bool
    initial: bool


def read_own_cgroup(proc: ProcFs, pod_uid: str | None = None) -> OwnCgroup:
    """Find the cgroups of this process.

    Args:
        proc: where the node's processes are.
        pod_uid: of the pod that it runs in; cgroups named for it are searched first.

    Raises:
        OSError: for want of descriptors or memory.
    """
    own = proc.link("self/ns/cgroup")
    first, namespace = _node_process(proc)
    initial = INITIAL_NAMESPACE in (own, namespace) or namespace is None
    if own is None or own in (INITIAL_NAMESPACE, namespace):
        return OwnCgroup(_paths(proc.read("self/cgroup") or b""), relative=False, initial=initial)
    pid = proc.link("self")
    uids = () if pod_uid is None else (pod_uid, pod_uid.replace("-", "_"))
    found = [] if pid is None else [_search(mount, pid, uids) for mount in _mounts(proc, first)]
    paths = tuple(dict.fromkeys(path for path in found if path is not None))
    return OwnCgroup(paths, relative=True, initial=initial)


def _node_process(proc: ProcFs) -> tuple[int, str | None]:
    """Return the node's init, or kthreadd where init is refused, and its cgroup namespace."""
    namespace = proc.link("1/ns/cgroup")
    if namespace is None:
        kthreadd = proc.stat(_KTHREADD)
        if kthreadd is not None and not kthreadd.ppid:
            return _KTHREADD, proc.link(f"{_KTHREADD}/ns/cgroup")
    return 1, namespace


def _paths(text: bytes) -> tuple[str, ...]:
    lines = [line.decode("utf-8", "surrogateescape").split(":", 2) for line in text.splitlines()]
    lines.sort(key=lambda fields: fields[0] != "0")
    return tuple(dict.fromkeys(fields[2] for fields in lines if len(fields) == 3))


def _mounts(proc: ProcFs, pid: int) -> list[Path]:
    """Return where a process has mounted the hierarchies that are looked at."""
    folders: list[tuple[bool, Path]] = []
    for line in (proc.read(f"{pid}/mounts") or b"").decode("utf-8", "surrogateescape").splitlines():
        _, folder, kind, options, *_ = [*line.split(" "), "", "", ""]
        if kind == "cgroup2" or (kind == "cgroup" and _V1_CONTROLLERS & {*options.split(",")}):
            folders.append((kind != "cgroup2", proc.root / f"{pid}/root" / folder.lstrip("/")))
    return [folder for _, folder in sorted(folders)]


def _search(mount: Path, pid: str, uids: tuple[str, ...]) -> str | None:
    """Return the path below a mount of the cgroup that this process is in; not the root."""
    pending = [(mount, 0)]
    for _ in range(_MAX_FOLDERS):
        if not pending:
            return None
        folder, depth = pending.pop()
        if depth and pid in _pids(folder):
            return "/" + str(folder.relative_to(mount))
        if depth < _MAX_DEPTH:
            below = sorted(_folders(folder), key=lambda name: any(uid in name for uid in uids))
            pending += [(folder / name, depth + 1) for name in below]
    return None


def _pids(folder: Path) -> list[str]:
    try:
        return (folder / "cgroup.procs").read_text("ascii").split()
    except OSError:  # gone, or a threaded cgroup
        return []


def _folders(folder: Path) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield entry.name
