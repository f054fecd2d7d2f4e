"""From a cgroup path to its container, pod or systemd unit.

Pure. A path is matched from the root: a pod counts only where the kubelet of this node
puts pods (pod_roots), and whatever a tenant creates below its own container comes later
in the path and cannot change the answer. Paths relative to another cgroup namespace
(`/../../kubepods-….slice/…`, cgroup_namespaces(7)) have lost their beginning.
docs/attribution.md has a table of real paths.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from tracer.attribution import container_names
from tracer.attribution.pod_roots import (
    STANDARD,
    Parts,
    PodPlace,
    PodRoots,
    find_relative,
    pod_like_place,
)
from tracer.model import Container

_UNIT_SUFFIXES = (".service", ".scope", ".socket", ".mount", ".swap")
_DELETED = " (deleted)"
_RUNTIME_FOLDERS = frozenset({"system.slice", "k8s.io", "docker"})


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


class Found(NamedTuple):
    """What a path names.

    Attributes:
        container: its container; None when the path names none.
        node_made: only the node's kubelet and runtime create cgroups there, so that the
            container's id may be looked up among the pods'. Elsewhere a tenant may have
            given its own cgroup the name of another tenant's container.
    """

    container: Container | None
    node_made: bool


def split(path: str) -> tuple[int, Parts]:
    """Split a path, without ` (deleted)`, into the number of leading `..` and the rest."""
    parts = [part for part in path.removesuffix(_DELETED).split("/") if part]
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    return ups, tuple(parts[ups:])


def segments(path: str) -> Parts:
    """Split a path, without ` (deleted)` and without what leads out of a cgroup namespace."""
    return split(path)[1]


def is_root(path: str) -> bool:
    """Return whether a path is the root cgroup, seen from any cgroup namespace."""
    return not segments(path)


def parse(path: str, roots: PodRoots = STANDARD) -> Container | None:
    """Find the container that a cgroup path names.

    Args:
        path: as in /proc/PID/cgroup, or as the kernel builds it from the hierarchy's root.
        roots: where the kubelet puts pods.

    Returns:
        The container of the pod in the path; where there is no pod, the first container;
        None when the path names neither. The id is None where the path ends at the pod,
        or where a runtime's monitor (conmon) sits beside its container.
    """
    return find(path, roots).container


@lru_cache(maxsize=1024)
def find(path: str, roots: PodRoots = STANDARD) -> Found:
    """Find the container that a path names, and who can have named it; see parse()."""
    ups, parts = split(path)
    pod = find_relative(parts, ups) if ups else roots.find(parts)
    if pod is not None:
        return Found(_in_pod(parts, pod), node_made=True)
    # What looks like a pod's elsewhere was made by a tenant, with all that is below.
    outer = container_names.outermost(parts[: pod_like_place(parts)])
    if outer is None:
        return Found(None, node_made=False)
    place, name = outer
    beside_agent = ups == 1 and place == 0
    by_runtime = ups == 0 and place == 1 and parts[0] in _RUNTIME_FOLDERS
    at_root = ups == 0 and place == 0
    return Found(Container(name.id, name.runtime), node_made=beside_agent or by_runtime or at_root)


def _in_pod(parts: Parts, pod: PodPlace) -> Container:
    """Read the container below a pod's segment, or in it (`….slice:runtime:id`)."""
    below = parts[pod.place + 1] if pod.place + 1 < len(parts) else ""
    name = container_names.read(parts[pod.place]) or container_names.read(below)
    if name is None:
        return Container(None, None, pod.pod_uid, pod.config_hash)
    return Container(name.id, name.runtime, pod.pod_uid, pod.config_hash)


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


def parse_proc(text: bytes, parse: Callable[[str], Container | None] = parse) -> ProcCgroups | None:
    """Choose the line of /proc/PID/cgroup (cgroups(7)) that says most.

    A line that names a pod's container comes first, then one that names a pod, then
    any container, then any path but the root; among equals the `0::` line, then the
    order of the file. So a container is found that its runtime put only into the
    version 1 controllers while `0::` still shows the runtime's own service.

    Args:
        text: of the file.
        parse: finds the container of a path.

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
    unified, path = max(lines, key=lambda line: _weight(line[1], parse(line[1])))
    return ProcCgroups(path, unified, controllers=not all(line[0] for line in lines))


def _weight(path: str, found: Container | None) -> int:
    if is_root(path):
        return 0
    if found is None:
        return 1
    in_pod = found.pod_uid is not None or found.config_hash is not None
    return 2 + 2 * in_pod + (found.id is not None)
