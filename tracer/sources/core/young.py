"""Zombies below the minimum age: for the state, in case the agent ends before they reach it."""

from collections import deque
from collections.abc import Callable

from tracer.model import Child
from tracer.sources.core import wire

LIMIT = 2_000
"""The newest are kept, so that a storm costs no more than this."""


class YoungZombies:
    """The newest zombies below the minimum age; some of them may have been reaped since.

    Args:
        make_child: unpacks one. Called when it is asked for: most are reaped before.
        limit: how many are kept.
    """

    def __init__(self, make_child: Callable[[wire.ZombieWire], Child], limit: int = LIMIT) -> None:
        self._make_child = make_child
        self._records: deque[bytes] = deque(maxlen=limit)
        self._children: dict[bytes, Child] = {}

    def add(self, record: bytes) -> None:
        """Take a struct zombie, in the order of the deaths."""
        self._records.append(record)

    def since(self, died_boot_ns: int) -> list[Child]:
        """Return those that died later than that, and forget the others."""
        self._children = {record: self._child(record) for record in self._records}
        while self._records and self._exit_ns(self._records[0]) <= died_boot_ns:
            del self._children[self._records.popleft()]
        return list(self._children.values())

    def _child(self, record: bytes) -> Child:
        known = self._children.get(record)
        if known is not None:
            return known
        return self._make_child(wire.ZombieWire._make(wire.ZOMBIE.unpack_from(record)))

    def _exit_ns(self, record: bytes) -> int:
        return self._children[record].exit_boot_ns or 0
