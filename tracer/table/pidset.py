"""A set of zombies that takes eight bytes for each: for parents with very many."""

import mmap
from collections.abc import Iterable, Iterator

from tracer.model import Identity

_GROUP_BITS = 24
_GROUP_MASK = (1 << _GROUP_BITS) - 1
_ENTRY_BYTES = 8
_FIRST_SIZE = 1 << 16

BLOCK_PIDS = 512
BLOCK_BYTES = BLOCK_PIDS * _ENTRY_BYTES


class PidSet:
    """Identities, each in a numbered group; one place for each pid of the machine.

    Anonymous memory that was never touched takes no room, so the table is as large as
    the pids in use need. 40 bits of start time are 348 years of 10 ms ticks.
    """

    def __init__(self) -> None:
        self._memory, self._entries = _allocate(_FIRST_SIZE)
        self._count = 0
        self._high_pid = 0

    def __len__(self) -> int:
        return self._count

    def add(self, pid: int, start_ticks: int, group: int) -> None:
        """Put a zombie into a group (0 to 16 million). The earlier holder of its pid is gone."""
        if pid >= len(self._entries):
            self._grow(pid)
        if not self._entries[pid]:
            self._count += 1
        self._entries[pid] = start_ticks << _GROUP_BITS | group + 1
        self._high_pid = max(self._high_pid, pid)

    def group(self, pid: int, start_ticks: int) -> int | None:
        """Return the group of that zombie; None when it is not here."""
        entry = self._entries[pid] if pid < len(self._entries) else 0
        if not entry or entry >> _GROUP_BITS != start_ticks:
            return None
        return (entry & _GROUP_MASK) - 1

    def discard(self, pid: int, start_ticks: int) -> int | None:
        """Take a zombie out; return the group it was in, None when it was not here."""
        group = self.group(pid, start_ticks)
        if group is not None:
            self._entries[pid] = 0
            self._count -= 1
        return group

    def missing_from(self, pids: Iterable[int]) -> list[tuple[Identity, int]]:
        """Return the (identity, group) of all that are here and whose pid is not in `pids`."""
        present = bytearray(len(self._entries))
        for pid in pids:
            present[pid] = 1
        return [(identity, group) for identity, group in self if not present[identity.pid]]

    def __iter__(self) -> Iterator[tuple[Identity, int]]:
        for pid in range(self._high_pid + 1):
            entry = self._entries[pid]
            if entry:
                yield Identity(pid, entry >> _GROUP_BITS), (entry & _GROUP_MASK) - 1

    def blocks(self) -> Iterator[bytes]:
        """Yield the set as bytes, BLOCK_PIDS pids at a time: cheap to compare and to keep."""
        for start in range(0, (self._high_pid + 1) * _ENTRY_BYTES, BLOCK_BYTES):
            yield self._memory[start : start + BLOCK_BYTES]

    def _grow(self, pid: int) -> None:
        size = len(self._entries)
        while size <= pid:
            size *= 2
        memory, entries = _allocate(size)
        used = (self._high_pid + 1) * _ENTRY_BYTES
        memory[:used] = self._memory[:used]
        self._entries.release()
        self._memory, self._entries = memory, entries


def entries_of(number: int, block: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (pid, start_ticks, group) of each zombie in the block of that number."""
    for pid, entry in enumerate(memoryview(block).cast("Q"), number * BLOCK_PIDS):
        if entry & _GROUP_MASK:
            yield pid, entry >> _GROUP_BITS, (entry & _GROUP_MASK) - 1


def _allocate(size: int) -> tuple[mmap.mmap, "memoryview[int]"]:
    memory = mmap.mmap(-1, size * _ENTRY_BYTES)
    return memory, memoryview(memory).cast("Q")
