"""Zombies from the task iterator."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from struct import Struct
from typing import cast

from tracer.clock import boot_ns
from tracer.model import CgroupKey, Child, SnapshotKey
from tracer.sources.core import wire
from tracer.sources.failures import failure

_READ_BYTES = 1 << 16


class CoreSnapshot:
    """Zombies from the task iterator. Implements model.Snapshot.

    Only one chunk of the kernel's records is held at a time: a million of them
    would be 136 MB.

    Args:
        fd: of the iterator; closed when it was read or the snapshot is deleted.
        make_child: unpacks one zombie.
        reading: held while the kernel runs the program, which may use a scratch entry that
            other snapshots use as well.
    """

    has_cgroups = True

    def __init__(
        self,
        fd: int,
        make_child: Callable[[wire.ZombieWire], Child],
        reading: AbstractContextManager[object],
    ) -> None:
        self.taken_boot_ns = boot_ns()
        self._fd: int | None = fd
        self._make_child = make_child
        self._reading = reading
        self._chunk = b""
        self._chunk_start = 0

    def keys(self) -> Iterator[SnapshotKey]:
        """Yield (pid, start_ticks, parent_pid, dead_since_boot_ns) of each zombie.

        Without Python code for each of them, which would double the cost.

        Raises:
            TemporaryError, PermanentError: the iterator could not be read to its end.
        """
        chunks = cast("Iterator[Iterator[SnapshotKey]]", self._chunks(wire.ZOMBIE_KEYS))
        return chain.from_iterable(chunks)

    def cgroup_keys(self) -> Iterator[CgroupKey]:
        """Yield the same with the id of its cgroup and of that cgroup's hierarchy."""
        chunks = cast("Iterator[Iterator[CgroupKey]]", self._chunks(wire.ZOMBIE_CGROUP_KEYS))
        return chain.from_iterable(chunks)

    def _chunks(self, layout: Struct) -> Iterator[Iterator[tuple[int, ...]]]:
        """Yield the keys of one read at a time."""
        if self._fd is None:
            raise ValueError("a snapshot can be read once")
        fd, self._fd = self._fd, None
        size = wire.ZOMBIE.size
        rest = b""
        try:
            while data := self._read(fd):
                data = rest + data if rest else data
                whole = len(data) // size * size
                self._chunk, rest = data[:whole], data[whole:]
                yield layout.iter_unpack(self._chunk)
                self._chunk_start += whole // size
        except OSError as error:
            raise failure("the task iterator cannot be read", error.errno or 0) from error
        finally:
            os.close(fd)

    def _read(self, fd: int) -> bytes:
        with self._reading:
            return os.read(fd, _READ_BYTES)

    def child(self, index: int) -> Child:
        """Unpack the zombie that keys() yielded last."""
        offset = (index - self._chunk_start) * wire.ZOMBIE.size
        raw = wire.ZOMBIE.unpack_from(self._chunk, offset)
        return self._make_child(wire.ZombieWire._make(raw))

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
