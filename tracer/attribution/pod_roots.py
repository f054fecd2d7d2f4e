"""The cgroups below which the kubelet of this node puts its pods. Pure.

A tenant with a delegated cgroup (a user's session manager, a container of another
runtime) can make cgroups with the kubelet's names. So a name counts as a pod's only at
the place where this kubelet puts pods: directly below its `kubepods` cgroup, or below
the QoS cgroups in it.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

Parts = tuple[str, ...]

_UUID = re.compile(r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}")
_CONFIG_HASH = re.compile(r"[0-9a-f]{32}")
_QOS = ("burstable", "besteffort", "guaranteed")

# The kubelet's names (pkg/kubelet/cm: ToSystemd, GetPodContainerName). Under another
# cgroup root systemd prefixes its name: kubelet-kubepods-burstable-pod….slice.
_POD_SLICE = re.compile(
    r"(?P<stem>(?:[^:]+-)?kubepods)(?:-(?:burstable|besteffort|guaranteed))?"
    r"-pod(?P<uid>[^:-]+)\.slice(?P<colon>:[^:]+:[0-9a-f]{64})?"
)
_QOS_SLICE = re.compile(r"(?P<stem>(?:[^:]+-)?kubepods)-(?:burstable|besteffort|guaranteed)\.slice")
_POD_FOLDER = re.compile(r"pod(?P<uid>[0-9A-Za-z._-]+)")
_KUBEPODS = re.compile(r"kubepods|(?:[^:]+-)?kubepods\.slice")

_FOREIGN_SLICES = frozenset({"user.slice", "machine.slice", "system.slice"})
_CGROUP_ROOTS = frozenset({"kubelet", "k8s"})
"""Values of the kubelet's --cgroup-root with the cgroupfs driver, as kind sets it."""

# Where a runtime with the cgroupfs driver puts a pod that a kubelet with the systemd
# driver named: below the runtime's own service.
_RUNTIME_SERVICES = frozenset(
    f"{name}.service"
    for name in (
        "containerd", "crio", "docker", "k3s", "k3s-agent", "kubelet", "rke2-agent", "rke2-server",
    )
)  # fmt: skip


class PodPlace(NamedTuple):
    """A pod's segment in a path.

    Attributes:
        place: its index.
        pod_uid: with dashes; None for a static pod.
        config_hash: of a static pod, in place of the UID.
    """

    place: int
    pod_uid: str | None
    config_hash: str | None


@dataclass(frozen=True, slots=True)
class PodRoots:
    """Where pods are looked for.

    Attributes:
        kubepods: the kubelet's `kubepods` cgroups, as segments from the root.
        colon: cgroups that hold pods' containers as `…-pod<uid>.slice:runtime:id`.
        standard: look also where a kubelet on a node of its own puts pods by default.
    """

    kubepods: tuple[Parts, ...] = ()
    colon: tuple[Parts, ...] = ()
    standard: bool = False

    def find(self, parts: Parts) -> PodPlace | None:
        """Find the pod of a path from the root of the node's hierarchy."""
        for root in self.kubepods:
            if parts[: len(root)] == root:
                return _below(parts, len(root), root[-1])
        for parent in self.colon:
            if parts[: len(parent)] == parent and _is_colon(parts, len(parent)):
                return _pod_slice(parts, len(parent), None)
        return _find_standard(parts) if self.standard else None

    def __str__(self) -> str:
        """Return the cgroups as a person writes them, separated by commas."""
        named = ["/" + "/".join(parts) for parts in (*self.kubepods, *self.colon)]
        return ", ".join([*named, *(["the standard cgroups"] if self.standard else [])])


STANDARD = PodRoots(standard=True)


def find_relative(parts: Parts, ups: int) -> PodPlace | None:
    """Find the pod of a path that is relative to an unknown cgroup of a pod.

    The beginning of such a path was cut off together with `kubepods`. What follows the
    `..` is a sibling of one of the reader's own ancestors, which are the kubelet's.

    Args:
        parts: what follows the `..`.
        ups: how many there are; two lead from a container to its pod's siblings.
    """
    if not parts or not ups:
        return None
    if ups >= 2:
        if parts[0] in _QOS:
            return _pod_folder(parts, 1, proper=True)
        start = 1 if _QOS_SLICE.fullmatch(parts[0]) else 0
        found = _pod_slice(parts, start, None) or (
            None if start else _pod_folder(parts, 0, proper=True)
        )
        if found is not None:
            return found
    return _pod_slice(parts, 0, None) if _is_colon(parts, 0) else _find_standard(parts)


def roots_of_own(path: Parts, own_uid: str | None) -> PodRoots | None:
    """Derive the roots from the cgroup of a container in a pod: this agent's own.

    Args:
        path: of the container.
        own_uid: of its pod, which finds it also when the kubelet itself runs in a pod;
            where it is None or not in the path, the innermost pod counts.

    Returns:
        None when the path names no pod.
    """
    pods = [found for place in range(len(path)) if (found := _any_pod(path, place)) is not None]
    own = [pod for pod in pods if own_uid and own_uid in (pod.pod_uid, pod.config_hash)]
    for pod in reversed(own or pods):
        if _is_colon(path, pod.place):
            return PodRoots(colon=(path[: pod.place],))
        return PodRoots(kubepods=(path[: _level_above(path, pod.place)],))
    return None


def roots_below(cgroup_root: Parts) -> PodRoots:
    """Return the roots for a cgroup that the user gave: `kubepods` itself, or what holds it."""
    last = cgroup_root[-1] if cgroup_root else ""
    if _KUBEPODS.fullmatch(last):
        return PodRoots(kubepods=(cgroup_root,))
    prefix = last.removesuffix(".slice") + "-" if last.endswith(".slice") else ""
    levels = dict.fromkeys(("kubepods", "kubepods.slice", f"{prefix}kubepods.slice"))
    return PodRoots(kubepods=tuple((*cgroup_root, level) for level in levels), colon=(cgroup_root,))


def pod_like_place(parts: Parts) -> int | None:
    """Return where a path begins to look like a kubelet's, wherever that is."""
    return next(
        (
            place
            for place, part in enumerate(parts)
            if _KUBEPODS.fullmatch(part) or _POD_SLICE.fullmatch(part) or _QOS_SLICE.fullmatch(part)
        ),
        None,
    )


def pod_named(parts: Parts) -> PodPlace | None:
    """Return the first pod that a path names, wherever that is: nothing to attribute by."""
    places = (_any_pod(parts, place) for place in range(len(parts)))
    return next((found for found in places if found is not None), None)


def _find_standard(parts: Parts) -> PodPlace | None:
    if not parts:
        return None
    first, second = parts[0], parts[1] if len(parts) > 1 else ""
    if first in ("kubepods", "kubepods.slice"):
        return _below(parts, 1, first)
    if first.endswith(".slice") and first not in _FOREIGN_SLICES:
        named = f"{first.removesuffix('.slice')}-kubepods.slice"
        if second == named:
            return _below(parts, 2, second)
    if first in _CGROUP_ROOTS and second == "kubepods":
        return _below(parts, 2, second)
    at = 2 if first == "system.slice" and second in _RUNTIME_SERVICES else 0
    return _pod_slice(parts, at, None) if _is_colon(parts, at) else None


def _below(parts: Parts, place: int, level: str) -> PodPlace | None:
    """Read what is below a `kubepods` cgroup: a pod's cgroup, or a QoS cgroup with one in it."""
    if len(parts) <= place:
        return None
    if not level.endswith(".slice"):
        return _pod_folder(parts, place + (parts[place] in _QOS))
    stem = level.removesuffix(".slice")
    qos = _QOS_SLICE.fullmatch(parts[place])
    return _pod_slice(parts, place + (qos is not None and qos["stem"] == stem), stem)


def _pod_slice(parts: Parts, place: int, stem: str | None) -> PodPlace | None:
    if len(parts) <= place:
        return None
    found = _POD_SLICE.fullmatch(parts[place])
    if found is None or (stem is not None and found["stem"] != stem):
        return None
    return _identified(place, found["uid"].replace("_", "-"))


def _pod_folder(parts: Parts, place: int, *, proper: bool = False) -> PodPlace | None:
    """Read `pod<uid>`; with `proper` only if that is a UUID or a hash, as the kubelet's are."""
    if len(parts) <= place:
        return None
    found = _POD_FOLDER.fullmatch(parts[place])
    if found is None:
        return None
    uid = found["uid"]
    if proper and not (_UUID.fullmatch(uid) or _CONFIG_HASH.fullmatch(uid)):
        return None
    return _identified(place, uid)


def _identified(place: int, uid: str) -> PodPlace:
    return PodPlace(place, None, uid) if _CONFIG_HASH.fullmatch(uid) else PodPlace(place, uid, None)


def _is_colon(parts: Parts, place: int) -> bool:
    found = _POD_SLICE.fullmatch(parts[place]) if len(parts) > place else None
    return found is not None and found["colon"] is not None


def _any_pod(parts: Parts, place: int) -> PodPlace | None:
    if _is_colon(parts, place):
        return _pod_slice(parts, place, None)
    level = _level_above(parts, place)
    return None if level == 0 else _below(parts[: place + 1], level, parts[level - 1])


def _level_above(parts: Parts, place: int) -> int:
    """Return where the `kubepods` cgroup above a pod's ends, 0 when there is none."""
    for above in (place, place - 1):
        if above > 0 and _KUBEPODS.fullmatch(parts[above - 1]):
            return above
    return 0
