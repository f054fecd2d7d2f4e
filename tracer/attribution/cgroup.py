"""From a cgroup path to its container, pod or systemd unit.

Pure. A path is matched from the root and the first pod wins: whatever a tenant
creates below its own container comes later in the path and cannot change the
answer. Paths relative to another cgroup namespace (`/../../kubepods-….slice/…`,
cgroup_namespaces(7)) have lost their beginning, so a pod is also known by the
name of its own segment. docs/attribution.md has a table of real paths.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from tracer.model import Container

_UUID = re.compile(r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}")
_CONFIG_HASH = re.compile(r"[0-9a-f]{32}")

# The kubelet's names (pkg/kubelet/cm: ToSystemd, GetPodContainerName). Under another
# cgroup root systemd prefixes its name: kubelet-kubepods-burstable-pod….slice.
_POD_SLICE = re.compile(
    r"(?:[^:]+-)?kubepods(?:-(?:burstable|besteffort|guaranteed))?-pod(?P<uid>[^:-]+)\.slice"
    r"(?::(?P<runtime>[^:]+):(?P<id>[0-9a-f]{64}))?"
)
_POD_FOLDER = re.compile(r"pod(?P<uid>[0-9A-Za-z._-]+)")
_KUBEPODS = "kubepods"
_QOS = frozenset({"burstable", "besteffort", "guaranteed"})

_CONTAINER = re.compile(r"(?:(?P<prefix>[a-z][a-z0-9_-]*?)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
# docker and containerd name a container they were given no pod slice for
# parent:runtime:id when the cgroup drivers of kubelet and runtime differ.
_COLON = re.compile(r"[^:]*:(?P<prefix>[^:]+):(?P<id>[0-9a-f]{64})")
_RUNTIMES = {
    "cri-containerd": "containerd",
    "containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
    "libpod-payload": "podman",
}
_FOLDER_RUNTIMES = {
    "docker": "docker",
    "moby": "docker",
    "k8s.io": "containerd",
    "default": "containerd",
    "libpod_parent": "podman",
}
_MONITOR = "-conmon"
_UNIT_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")
_DELETED = " (deleted)"


class ProcCgroups(NamedTuple):
    """What /proc/PID/cgroup says, reduced to what can name a container.

    Attributes:
        path: the path that says most.
        unified: whether it is the `0::` line's.
        controllers: whether there are lines of cgroup v1 controllers at all.
    """

    path: str
    unified: bool
    controllers: bool


def segments(path: str) -> tuple[str, ...]:
    """Split a path, without ` (deleted)` and without what leads out of a cgroup namespace."""
    parts = [part for part in path.removesuffix(_DELETED).split("/") if part]
    start = 0
    while start < len(parts) and parts[start] == "..":
        start += 1
    return tuple(parts[start:])


def is_root(path: str) -> bool:
    """Return whether a path is the root cgroup, seen from any cgroup namespace."""
    return not segments(path)


@lru_cache(maxsize=1024)
def parse(path: str) -> Container | None:
    """Find the container that a cgroup path names.

    Args:
        path: as in /proc/PID/cgroup, or as the kernel builds it from the hierarchy's root.

    Returns:
        The container of the first pod in the path; where there is no pod, the first
        container; None when the path names neither. The id is None where the path
        ends at the pod, or where a runtime's monitor (conmon) sits beside its container.
    """
    parts = segments(path)
    cut = path.startswith("/..")
    for place, part in enumerate(parts):
        found = _pod(parts, place, part, cut=cut)
        if found is not None:
            return found
    return _outermost(parts)


@lru_cache(maxsize=1024)
def outermost(path: str) -> Container | None:
    """Find the first container in a path, even if a pod is nested in it.

    A kubelet that runs in a container (kind, k3d) puts its pods below that container;
    a tenant of a plain container can make folders that look the same. Who knows the
    node's pods can tell the two apart, and takes this when the pod is none of them.
    """
    parts = segments(path)
    pod = _first_pod_place(parts, cut=path.startswith("/.."))
    outer = _outermost(parts if pod is None else parts[:pod])
    return outer if outer is not None else parse(path)


def systemd_unit(path: str) -> str | None:
    """Find the systemd unit that a cgroup path names, such as `cron.service`.

    Returns:
        The first unit below the slices that lead to it, which is the system manager's
        own: `user@1000.service` for all that runs in a user's session manager. None
        when the path is not systemd's.
    """
    for part in segments(path):
        name = part.removeprefix("_")  # systemd's escape: cg_escape() in cgroup-util.c
        if name.endswith(".slice"):
            continue
        return name if name.endswith(_UNIT_SUFFIXES) else None
    return None


def parse_proc(text: bytes) -> ProcCgroups | None:
    """Choose the line of /proc/PID/cgroup (cgroups(7)) that says most.

    A line that names a pod's container comes first, then one that names a pod, then
    any container, then any path but the root; among equals the `0::` line, then the
    order of the file. So a container is found that its runtime put only into the
    version 1 controllers while `0::` still shows the runtime's own service.

    Returns:
        None when there is no line that can be read. Lines of another form are skipped:
        the kernel allows no newline in a cgroup's name (cgroup_mkdir).
    """
    lines: list[tuple[bool, str]] = []
    for raw in text.split(b"\n"):
        fields = raw.decode("utf-8", "surrogateescape").split(":", 2)
        if len(fields) == 3 and fields[2].startswith("/"):
            lines.append((fields[0] == "0" and not fields[1], fields[2]))
    if not lines:
        return None
    lines.sort(key=lambda line: not line[0])
    unified, path = max(lines, key=lambda line: _weight(line[1]))
    return ProcCgroups(path, unified, controllers=not all(line[0] for line in lines))


def _weight(path: str) -> int:
    if is_root(path):
        return 0
    found = parse(path)
    if found is None:
        return 1
    in_pod = found.pod_uid is not None or found.config_hash is not None
    return 2 + 2 * in_pod + (found.id is not None)


def _first_pod_place(parts: tuple[str, ...], *, cut: bool) -> int | None:
    return next(
        (place for place, part in enumerate(parts) if _pod(parts, place, part, cut=cut)), None
    )


def _pod(parts: tuple[str, ...], place: int, part: str, *, cut: bool) -> Container | None:
    """Read the segment at a place as a pod's, with the container below it."""
    by_systemd = _POD_SLICE.fullmatch(part)
    if by_systemd is not None:
        pod_uid, config_hash = _pod_identity(by_systemd["uid"].replace("_", "-"))
        if by_systemd["id"] is not None and not by_systemd["runtime"].endswith(_MONITOR):
            runtime = _RUNTIMES.get(by_systemd["runtime"])
            return Container(by_systemd["id"], runtime, pod_uid, config_hash)
    else:
        by_folder = _POD_FOLDER.fullmatch(part)
        if by_folder is None or not _below_kubepods(parts, place, by_folder["uid"], cut=cut):
            return None
        pod_uid, config_hash = _pod_identity(by_folder["uid"])
    below = parts[place + 1] if place + 1 < len(parts) else ""
    container_id, runtime = _container(below)
    return Container(container_id, runtime, pod_uid, config_hash)


def _pod_identity(text: str) -> tuple[str | None, str | None]:
    """Split into (pod UID, config hash); a static pod has the hash instead of a UID."""
    return (None, text) if _CONFIG_HASH.fullmatch(text) else (text, None)


def _below_kubepods(parts: tuple[str, ...], place: int, uid: str, *, cut: bool) -> bool:
    """Return whether a `pod…` folder is where the cgroupfs driver puts pods."""
    above = place - 1
    if above >= 0 and parts[above] in _QOS:
        above -= 1
    if above >= 0:
        return parts[above] == _KUBEPODS
    # The namespace boundary cut `kubepods` off: only a proper UID is believed.
    return cut and bool(_UUID.fullmatch(uid) or _CONFIG_HASH.fullmatch(uid))


def _container(part: str) -> tuple[str | None, str | None]:
    """Read one segment as a container's: (id, runtime), both None when it is none."""
    found = _CONTAINER.fullmatch(part) or _COLON.fullmatch(part)
    if found is None:
        return None, None
    prefix = found["prefix"]
    if prefix is None:
        return found["id"], None
    if prefix.endswith(_MONITOR):
        return None, None
    return found["id"], _RUNTIMES.get(prefix)


def _outermost(parts: tuple[str, ...]) -> Container | None:
    """Find the first container of a path without looking for pods."""
    for place, part in enumerate(parts):
        container_id, runtime = _container(part)
        if container_id is not None:
            if runtime is None and place:
                runtime = _FOLDER_RUNTIMES.get(parts[place - 1])
            return Container(container_id, runtime)
    return None
