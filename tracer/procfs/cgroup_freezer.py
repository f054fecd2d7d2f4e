"""Whether the cgroup freezer holds a process. Reading and parsing are separate functions."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CGROUP_ROOT = Path("/sys/fs/cgroup")
_REFRIGERATOR = frozenset({"__refrigerator", "refrigerator"})
"""Where a thread frozen by the v1 freezer sleeps (kernel/freezer.c)."""


class Membership(NamedTuple):
    """The cgroup paths of a process that the freezer works on.

    Attributes:
        unified: in the v2 hierarchy.
        freezer: in the v1 hierarchy that has the freezer.
    """

    unified: str | None
    freezer: str | None


def parse_membership(raw: bytes) -> Membership:
    """Parse /proc/PID/cgroup (cgroups(7)): `number:controllers:path` lines."""
    unified = freezer = None
    for line in raw.decode("utf-8", "backslashreplace").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if line.startswith("0::"):
            unified = path
        elif "freezer" in controllers.split(","):
            freezer = path
    return Membership(unified, freezer)


def is_frozen(membership: Membership, wchan: str | None, root: Path = CGROUP_ROOT) -> bool | None:
    """Return whether the kernel holds the process frozen; None when that is unknown.

    cgroup.events has `frozen 1` when everything in a cgroup is frozen, by itself or with an
    ancestor (v2); freezer.state has FROZEN or FREEZING (v1). Where the cgroup file system is
    not mounted, or the path is relative to another cgroup namespace, only wchan is left.
    """
    answers: Sequence[bool | None] = (
        _reads(root, ("unified", "."), membership.unified, "cgroup.events", "frozen 1"),
        _reads(root, ("freezer",), membership.freezer, "freezer.state", "FROZEN"),
        None if wchan is None else wchan in _REFRIGERATOR or None,
    )
    if any(answers):
        return True
    return False if False in answers else None


def _reads(
    root: Path, mounts: Sequence[str], path: str | None, name: str, wanted: str
) -> bool | None:
    """Return whether a file of a cgroup has that line; None when there is no such file."""
    if path is None or ".." in path:
        return None
    if path == "/":
        return False
    for mount in mounts:
        try:
            text = (root / mount / path.lstrip("/") / name).read_text()
        except (OSError, UnicodeDecodeError):
            continue
        return wanted in text.splitlines()
    return None
