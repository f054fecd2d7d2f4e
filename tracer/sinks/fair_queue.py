"""A bounded queue whose owners take turns, so that one of them cannot displace the others.

Up to IN_ORDER items leave in the order in which they came. Behind a slow reader more than
that wait: then the agent's own lines leave first, and the other owners take turns. When the
queue is full, the newest item of the owner with the most in it is dropped.
"""

from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")

IN_ORDER = 64
"""Items that leave in the order in which they came."""


class Place(Enum):
    """Owners with a place of their own in the queue."""

    FIRST = "first"
    """The agent's own lines."""
    LAST = "last"
    """The line after which nothing comes; never dropped."""


class _Entry(NamedTuple, Generic[Item]):
    number: int
    size: int
    item: Item


class _Waiting(Generic[Item]):
    """The items of one owner, and the sum of their sizes."""

    __slots__ = ("entries", "owner", "size")

    def __init__(self, owner: Hashable) -> None:
        self.owner = owner
        self.entries: deque[_Entry[Item]] = deque()
        self.size = 0


class FairQueue(Generic[Item]):
    """The queue. Thread-safe; no call blocks for longer than another one takes.

    Args:
        limit: of the sum of the sizes of all items in it.
        owner: returns whose an item is: a Place, or any other value for one that takes turns.
        size: returns the size of an item, in the unit of `limit`.
    """

    def __init__(
        self,
        limit: int,
        *,
        owner: Callable[[Item], Hashable] = lambda _: None,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._limit = limit
        self._owner_of = owner
        self._size_of = size
        self._lock = Lock()
        # In the order in which the owners take turns.
        self._waiting: dict[Hashable, _Waiting[Item]] = {}
        self._count = self._size = self._number = 0

    def __len__(self) -> int:
        return self._count

    def put(self, item: Item) -> list[Item]:
        """Add an item at once.

        Returns:
            what was dropped to stay within the limit, the newest of each owner first; that may
            be the item itself.
        """
        owner, size = self._owner_of(item), self._size_of(item)
        with self._lock:
            waiting = self._waiting.get(owner)
            if waiting is None:
                waiting = self._waiting[owner] = _Waiting(owner)
            waiting.entries.append(_Entry(self._number, size, item))
            self._number += 1
            self._count += 1
            waiting.size += size
            self._size += size
            return self._drop_beyond_limit()

    def take(self) -> Item | None:
        """Remove and return the item whose turn it is; None when there is none."""
        with self._lock:
            waiting = self._next()
            if waiting is None:
                return None
            # Its owner's next turn comes after those of all others.
            del self._waiting[waiting.owner]
            self._waiting[waiting.owner] = waiting
            return self._removed(waiting, waiting.entries.popleft())

    def clear(self) -> list[Item]:
        """Remove and return all items."""
        with self._lock:
            items = [entry.item for each in self._waiting.values() for entry in each.entries]
            self._waiting.clear()
            self._count = self._size = 0
            return items

    def _next(self) -> _Waiting[Item] | None:
        takes_turns = (each for each in self._waiting.values() if each.owner is not Place.LAST)
        if self._count <= IN_ORDER:
            chosen = min(takes_turns, key=lambda each: each.entries[0].number, default=None)
        else:
            chosen = self._waiting.get(Place.FIRST) or next(takes_turns, None)
        return chosen or self._waiting.get(Place.LAST)

    def _drop_beyond_limit(self) -> list[Item]:
        dropped: list[Item] = []
        while self._size > self._limit:
            longest = max(
                (each for each in self._waiting.values() if each.owner is not Place.LAST),
                key=lambda each: each.size,
                default=None,
            )
            if longest is None:
                break
            dropped.append(self._removed(longest, longest.entries.pop()))
        return dropped

    def _removed(self, waiting: _Waiting[Item], entry: _Entry[Item]) -> Item:
        """Take an entry that has left its owner's items out of the sums."""
        self._count -= 1
        self._size -= entry.size
        waiting.size -= entry.size
        if not waiting.entries:
            del self._waiting[waiting.owner]
        return entry.item
