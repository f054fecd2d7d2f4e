"""The maps of a bcc program, read and written as Python values.

bcc has tables of its own, but they allocate room for the largest possible map at each batch
and make a ctypes object of each entry; these unpack a whole batch with one call.
"""

import ctypes
import errno
import struct
from collections.abc import Iterator
from typing import Any

from tracer.sources.failures import failure

_BATCH = 4096
_MOST_IN_A_BUCKET = 1 << 20
_NO_BATCH = frozenset({errno.EINVAL, 524})
"""Kernels before 5.6 have no batch operations: EINVAL; ENOTSUPP (524) for a map without them."""
BPF_ANY = 0
_NO_ROOM = frozenset({errno.E2BIG, errno.ENOMEM, errno.ENOSPC})


def _check(what: str, result: int, expected: frozenset[int]) -> bool:
    """Return whether a call succeeded; False when it failed in an expected way.

    Raises:
        TemporaryError, PermanentError: it failed in another way, which says nothing about
            the entry.
    """
    if result >= 0:
        return True
    number = ctypes.get_errno()
    if number in expected:
        return False
    raise failure(f"a map of the bcc program cannot be {what}", number)


_ABSENT = frozenset({errno.ENOENT})


def _reference(key: int) -> Any:
    """Return a pointer to a key."""
    return ctypes.byref(ctypes.c_uint32(key))


class HashMap:
    """A hash map with a 32-bit key, usually a pid. Any thread may use it.

    Args:
        lib: libbcc, as ctypes loaded it.
        descriptor: of the map.
        value: layout of its values, for struct.
    """

    def __init__(self, lib: Any, descriptor: int, value: struct.Struct) -> None:
        self._lib = lib
        self._fd = descriptor
        self._value = value
        self._batches = True

    def get(self, key: int) -> tuple[Any, ...] | None:
        """Return the value of a key, None when there is none."""
        found = ctypes.create_string_buffer(self._value.size)
        result = self._lib.bpf_lookup_elem(self._fd, _reference(key), found)
        return self._value.unpack(found.raw) if _check("read", result, _ABSENT) else None

    def put(self, key: int, *fields: object) -> bool:
        """Set a key; False when the map is full."""
        value = self._value.pack(*fields)
        result = self._lib.bpf_update_elem(self._fd, _reference(key), value, BPF_ANY)
        return _check("changed", result, _ABSENT | _NO_ROOM)

    def delete(self, key: int) -> None:
        """Remove a key, if it is there."""
        result = self._lib.bpf_delete_elem(self._fd, _reference(key))
        _check("changed", result, _ABSENT)

    def next_key(self, key: int | None) -> int | None:
        """Return the key behind this one in the map's order, the first for None; None at the end.

        The kernel starts over when the key is not there any more.
        """
        following = ctypes.c_uint32()
        here = None if key is None else _reference(key)
        result = self._lib.bpf_get_next_key(self._fd, here, ctypes.byref(following))
        return following.value if _check("read", result, _ABSENT) else None

    def items(self) -> Iterator[tuple[Any, ...]]:
        """Yield (key, *fields) of all entries; what changes meanwhile may be missing."""
        if self._batches:
            yield from self._batched()
        if not self._batches:
            yield from self._one_by_one()

    def _one_by_one(self) -> Iterator[tuple[Any, ...]]:
        keys: list[int] = []
        key = self.next_key(None)
        while key is not None and len(keys) < _MOST_IN_A_BUCKET:
            keys.append(key)
            key = self.next_key(key)
        for key in keys:
            fields = self.get(key)
            if fields is not None:
                yield (key, *fields)

    def _batched(self) -> Iterator[tuple[Any, ...]]:
        room = _BATCH
        position = ctypes.c_uint32()
        begun = False
        while True:
            keys = (ctypes.c_uint32 * room)()
            values = ctypes.create_string_buffer(room * self._value.size)
            count = ctypes.c_uint32(room)
            result = self._lib.bpf_lookup_batch(
                self._fd,
                ctypes.byref(position) if begun else None,
                ctypes.byref(position),
                keys,
                values,
                ctypes.byref(count),
            )
            error = ctypes.get_errno() if result < 0 else 0
            if error == errno.ENOSPC and room < _MOST_IN_A_BUCKET:
                room *= 4  # one bucket alone has more than fit
                continue
            if error in _NO_BATCH and not begun:
                self._batches = False
                return
            if error not in {0, errno.ENOENT}:
                raise failure("a map of the bcc program cannot be read", error)
            begun = True
            got = memoryview(values)[: count.value * self._value.size]
            for key, fields in zip(keys, self._value.iter_unpack(got), strict=False):
                yield (key, *fields)
            if error == errno.ENOENT:
                return


class Queue:
    """A queue map, taken from at its front."""

    def __init__(self, lib: Any, descriptor: int, value: struct.Struct) -> None:
        self._lib = lib
        self._fd = descriptor
        self._value = value
        self._buffer = ctypes.create_string_buffer(value.size)

    def take(self, most: int) -> Iterator[tuple[Any, ...]]:
        """Yield what is in it, at most so many."""
        for _ in range(most):
            result = self._lib.bpf_lookup_and_delete(self._fd, None, self._buffer)
            if not _check("read", result, _ABSENT):
                return
            yield self._value.unpack(self._buffer.raw)


class Counters:
    """A per-CPU array of 64-bit counters."""

    def __init__(self, lib: Any, descriptor: int, possible_cpus: int) -> None:
        self._lib = lib
        self._fd = descriptor
        self._values = (ctypes.c_uint64 * possible_cpus)()

    def sum(self, index: int) -> int:
        """Return one counter, over all CPUs."""
        key = ctypes.c_uint32(index)
        result = self._lib.bpf_lookup_elem(self._fd, ctypes.byref(key), self._values)
        _check("read", result, frozenset())
        return sum(self._values)
