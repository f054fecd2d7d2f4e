"""Dead children, as sources see them one by one and all at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from tracer.model.process import Cgroup, Forker, Identity, OriginKind


@dataclass(frozen=True, slots=True)
class Child:
    """A dead, unreaped child as a source sees it.

    Attributes:
        identity: who it is.
        parent_pid: its parent now, in the host's pid namespace.
        start_boot_ns: when it started (from /proc: exact to one tick).
        exit_boot_ns: when it died; None when its exit was not observed.
        last_ran_boot_ns: when it last had a processor, by the scheduler's clock: where
            exit_boot_ns is None it died about then, and the age from it is a lower bound
            to within a time slice. None where the kernel does not tell.
        exit_status: as wait(2) would return it (code << 8 | core << 7 | signal).
        vpid: its pid in its own pid namespace.
        pid_namespace: inode number of that namespace.
        uid: real user id in the initial user namespace.
        comm: its name, decoded as UTF-8 with backslash escapes for other bytes.
        exit_parent_pid: its parent when it died.
        forker: who forked it.
        origin: how its line began in its pid namespace.
        origin_pid: the process with which that line began.
        cgroup: its cgroup, where the source itself knows it.
        tracer_pid: its ptrace tracer; None when it is not traced.
    """

    identity: Identity
    parent_pid: int
    start_boot_ns: int
    exit_boot_ns: int | None = None
    last_ran_boot_ns: int | None = None
    exit_status: int | None = None
    vpid: int | None = None
    pid_namespace: int | None = None
    uid: int | None = None
    comm: str | None = None
    exit_parent_pid: int | None = None
    forker: Forker | None = None
    origin: OriginKind | None = None
    origin_pid: int | None = None
    cgroup: Cgroup | None = None
    tracer_pid: int | None = None

    @property
    def dead_since_boot_ns(self) -> int | None:
        """When it died: seen, or else inferred from when it last ran."""
        return self.last_ran_boot_ns if self.exit_boot_ns is None else self.exit_boot_ns


_FILLED = (
    "exit_boot_ns",
    "exit_status",
    "vpid",
    "pid_namespace",
    "uid",
    "comm",
    "exit_parent_pid",
    "forker",
    "cgroup",
)
"""Facts that no longer change once a process is dead. Its parent and tracer still can."""


def merge(live: Child, saved: Child) -> Child:
    """Return the live facts, and the saved ones where the live source does not know.

    The origin and its pid describe one event, so they are taken together. Nothing is
    merged when the two are not the same process: a pid may be in use again.
    """
    if live.identity != saved.identity:
        return live
    filled = {name: getattr(saved, name) for name in _FILLED if getattr(live, name) is None}
    if live.origin is None:
        filled |= {"origin": saved.origin, "origin_pid": saved.origin_pid}
    return replace(live, **filled)


class Gone(NamedTuple):
    """A dead child that was reaped."""

    identity: Identity
    gone_boot_ns: int


Observation = Child | Gone
"""What a source reports between snapshots."""


SnapshotKey = tuple[int, int, int, int]
"""(pid, start_ticks, parent_pid, dead_since_boot_ns or 0): a plain tuple, made by the million."""


CgroupKey = tuple[int, int, int, int, int, int]
"""A SnapshotKey with the id of the zombie's cgroup and the id of that cgroup's hierarchy."""


class Snapshot(Protocol):
    """All zombies at one moment, cheap to compare and only in part worth unpacking.

    It may be read from the kernel while keys() is consumed, so it is good for one pass.
    """

    taken_boot_ns: int
    """When reading began: what died later may be missing."""
    has_cgroups: bool
    """Whether the source knows cgroups; if not, cgroup_keys() yields 0 for both ids."""

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield the key of each zombie."""

    def cgroup_keys(self) -> Iterator[CgroupKey]:
        """Yield the key of each zombie with its cgroup, in place of keys()."""

    def child(self, index: int) -> Child:
        """Unpack the zombie that keys() yielded last, at that place (0 for the first)."""


class ListSnapshot:
    """A snapshot of children that are unpacked already."""

    has_cgroups = False

    def __init__(self, taken_boot_ns: int, children: Sequence[Child]) -> None:
        self.taken_boot_ns = taken_boot_ns
        self._children = children

    def __len__(self) -> int:
        return len(self._children)

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield the key of each zombie."""
        for child in self._children:
            yield *child.identity, child.parent_pid, child.dead_since_boot_ns or 0

    def cgroup_keys(self) -> Iterator[CgroupKey]:
        """Yield the key of each zombie, without its cgroup."""
        return ((*key, 0, 0) for key in self.keys())

    def child(self, index: int) -> Child:
        """Return the zombie that keys() yielded at that place."""
        return self._children[index]
