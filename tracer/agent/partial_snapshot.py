"""A snapshot of which some zombies are left out."""

from abc import abstractmethod
from collections.abc import Iterator

from tracer.model import CgroupKey, Child, Snapshot, SnapshotKey


class PartialSnapshot:
    """Those zombies of a snapshot that a subclass selects. Implements Snapshot.

    Args:
        snapshot: not read yet.
    """

    has_cgroups = False

    def __init__(self, snapshot: Snapshot) -> None:
        self.taken_boot_ns = snapshot.taken_boot_ns
        self._snapshot = snapshot
        self._place = 0

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield the key of each selected zombie."""
        for place, key in self._selected():
            self._place = place
            yield key

    def cgroup_keys(self) -> Iterator[CgroupKey]:
        """Yield the key of each selected zombie, without its cgroup."""
        return ((*key, 0, 0) for key in self.keys())

    def child(self, index: int) -> Child:  # noqa: ARG002 - in the whole snapshot it has another place
        """Unpack the zombie that keys() yielded last."""
        return self._snapshot.child(self._place)

    @abstractmethod
    def _selected(self) -> Iterator[tuple[int, SnapshotKey]]:
        """Yield the selected zombies, each after its place in the whole snapshot."""
