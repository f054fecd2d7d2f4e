"""Where this node's pods are, and how paths from different readers compare. Pure.

A path has one of three beginnings: the node's root (as its init reads it), the cgroup of
this process (in a cgroup namespace of its own), or the machine's root (as the kernel
names it), which is above the node's where the node is a container.
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

from tracer.attribution.cgroup import is_root, segments, split
from tracer.attribution.pod_roots import STANDARD, Parts, PodRoots, roots_below, roots_of_own
from tracer.errors import UsageError


class OwnCgroup(Protocol):
    """Where this process is; tracer/procfs/own_cgroup.py reads it."""

    @property
    def paths(self) -> tuple[str, ...]: ...  # noqa: D102 - see there
    @property
    def relative(self) -> bool: ...  # noqa: D102
    @property
    def initial(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class PodCgroups:
    """Where pods are looked for, and how to read paths.

    Attributes:
        roots: where the kubelet puts pods, from the node's root.
        own: the cgroup to which /proc's paths are relative, from the node's root; None
            when they are not relative, or it is not known.
        kernel_base: the node's root, from the machine's; None when it is not known yet.
        reason: where the roots come from.
    """

    roots: PodRoots = STANDARD
    own: Parts | None = None
    kernel_base: Parts | None = ()
    reason: str = "this process is not in a pod"

    def from_proc(self, path: str) -> str:
        """Return a path of /proc from the node's root, if that can be known."""
        ups, parts = split(path)
        if not ups or self.own is None or ups > len(self.own):
            return path
        return "/" + "/".join((*self.own[: len(self.own) - ups], *parts))

    def from_kernel(self, path: str) -> str | None:
        """Return a path of the kernel from the node's root; None when it is not below it."""
        base, parts = self.kernel_base, segments(path)
        if base is None or parts[: len(base)] != base:
            return None
        return "/" + "/".join(parts[len(base) :]) if base else path

    def with_base_from(self, kernel: str, unified: str) -> Self:
        """Learn the node's root from the two paths of one process's version 2 cgroup.

        Args:
            kernel: as the kernel names it.
            unified: as its `0::` line has it, from the node's root.
        """
        named, read = segments(kernel), segments(unified)
        if is_root(unified) or split(unified)[0] or named[len(named) - len(read) :] != read:
            return self
        return replace(self, kernel_base=named[: len(named) - len(read)])


def choose_pod_cgroups(
    own: OwnCgroup, *, pod_uid: str | None = None, cgroup_root: str | None = None
) -> PodCgroups:
    """Decide where this node's pods are.

    Args:
        own: where this process is.
        pod_uid: of the pod that it runs in, when it was given it.
        cgroup_root: of --kubelet-cgroup-root.

    Raises:
        UsageError: cgroup_root is not a path from the root.
    """
    derived: dict[Parts, PodRoots] = {}
    for path in filter(None, map(segments, own.paths)):
        roots = roots_of_own(path, pod_uid)
        if roots is not None:
            derived[path] = roots
    named = next(iter(derived), None) or next(filter(None, map(segments, own.paths)), None)
    base = () if own.initial else None
    relative_to = named if own.relative else None
    if cgroup_root is not None:
        given = roots_below(_given(cgroup_root))
        return PodCgroups(given, relative_to, base, "--kubelet-cgroup-root")
    if not derived:
        return PodCgroups(STANDARD, relative_to, base)
    united = PodRoots(
        kubepods=tuple(dict.fromkeys(one for each in derived.values() for one in each.kubepods)),
        colon=tuple(dict.fromkeys(one for each in derived.values() for one in each.colon)),
    )
    return PodCgroups(united, relative_to, base, "the cgroup of this process's own pod")


def _given(text: str) -> Parts:
    if not text.startswith("/") or ".." in text.split("/"):
        raise UsageError(
            f"--kubelet-cgroup-root {text!r} is not a path from the root of the cgroup hierarchy;"
            " write it as in /proc/PID/cgroup, for example /kubelet.slice"
        )
    return segments(text)
