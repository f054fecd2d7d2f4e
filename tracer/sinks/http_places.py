"""Places for connections: bounded in all and for each address. Pure."""

from collections import Counter
from typing import Generic, TypeVar

T = TypeVar("T")


class Places(Generic[T]):
    """Holds up to so many connections, in the order in which they came.

    Args:
        limit: of all.
        per_address: of one client's address.
    """

    def __init__(self, limit: int, per_address: int) -> None:
        self._limit = limit
        self._per_address = per_address
        self._held: dict[T, str] = {}
        self._counts: Counter[str] = Counter()

    def take(self, connection: T, address: str) -> T | None:
        """Give a connection a place; return the one that lost its place for it, if one did.

        That is the oldest of the same address, or of the address that has the most: clients
        that come from one address, or from a few, take no place from any other.
        """
        lost = self._superfluous(address)
        if lost is not None:
            self.leave(lost)
        self._held[connection] = address
        self._counts[address] += 1
        return lost

    def leave(self, connection: T) -> None:
        """Free the place of a connection, if it has one."""
        address = self._held.pop(connection, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _superfluous(self, address: str) -> T | None:
        if self._counts[address] >= self._per_address:
            full = {address}
        elif len(self._held) >= self._limit:
            most = max(self._counts.values())
            full = {each for each, count in self._counts.items() if count == most}
        else:
            return None
        return next(held for held, its_address in self._held.items() if its_address in full)
