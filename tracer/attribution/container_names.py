"""The names that container runtimes give to cgroups. Pure."""

import re
from typing import NamedTuple

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


class ContainerName(NamedTuple):
    """A container's id and its runtime, None where the name does not say it."""

    id: str
    runtime: str | None


def read(part: str) -> ContainerName | None:
    """Read one segment of a path; None when it is no container's, as a monitor's (conmon)."""
    found = _CONTAINER.fullmatch(part) or _COLON.fullmatch(part)
    if found is None:
        return None
    prefix = found["prefix"]
    if prefix is None:
        return ContainerName(found["id"], None)
    return None if prefix.endswith(_MONITOR) else ContainerName(found["id"], _RUNTIMES.get(prefix))


def outermost(parts: tuple[str, ...]) -> tuple[int, ContainerName] | None:
    """Return the first container of a path and its place in it, without looking for pods."""
    for place, part in enumerate(parts):
        found = read(part)
        if found is not None:
            above = parts[place - 1] if place else ""
            runtime = found.runtime or _FOLDER_RUNTIMES.get(above)
            return place, ContainerName(found.id, runtime)
    return None
