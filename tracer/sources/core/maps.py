"""The maps of a loaded object: lookups by key, and the ring buffer."""

import ctypes
import errno
import threading

from tracer.errors import PermanentError, TemporaryError
from tracer.sources.core.libbpf import SAMPLE_CALLBACK, Libbpf, describe
from tracer.sources.failures import failure

BPF_ANY = 0


class Map:
    """A map of a loaded object. Any thread may look up in it."""

    def __init__(self, libbpf: Libbpf, name: str, fd: int, value_size: int) -> None:
        self._calls = libbpf.calls
        self._name = name
        self.fd = fd
        self._size = value_size
        self._closed = False
        self._in_use = threading.Lock()

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value under that key, None when there is none.

        Raises:
            TemporaryError, PermanentError: the map could not be read; that says nothing
                about the key.
        """
        # A buffer of its own for each call, because threads look up at the same time.
        value = ctypes.create_string_buffer(self._size)
        with self._in_use:
            if self._closed:
                raise TemporaryError(f"the BPF map {self._name} was closed; ask again")
            if self._calls.bpf_map_lookup_elem(self.fd, key, value) < 0:
                number = ctypes.get_errno()
                if number == errno.ENOENT:
                    return None
                raise failure(f"the BPF map {self._name} cannot be read", number)
        return value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Set the value under that key.

        Raises:
            TemporaryError, PermanentError: the map could not be changed.
        """
        if self._calls.bpf_map_update_elem(self.fd, key, value, BPF_ANY) < 0:
            raise failure(f"the BPF map {self._name} cannot be changed", ctypes.get_errno())

    def close(self) -> None:
        """Fail the lookups that follow: the descriptor may become another file's."""
        with self._in_use:
            self._closed = True


class RingBuffer:
    """Reads a ring buffer map into a list of byte strings."""

    def __init__(self, libbpf: Libbpf, fd: int) -> None:
        self._libbpf = libbpf
        self._taken: list[bytes] = []
        # Copies and returns: the bytes are the kernel's again afterwards.
        self._callback = SAMPLE_CALLBACK(self._take)
        self._pointer: int | None = libbpf.calls.ring_buffer__new(fd, self._callback, None, None)
        if not self._pointer:
            raise PermanentError(
                describe("the ring buffer cannot be read", ctypes.get_errno(), libbpf.take_log())
            )

    def _take(self, _context: int, data: int, size: int) -> int:
        self._taken.append(ctypes.string_at(data, size))
        return 0

    def fd(self) -> int:
        """Return a descriptor that is readable when there is something."""
        return int(self._libbpf.calls.ring_buffer__epoll_fd(self._pointer))

    def consume(self) -> list[bytes]:
        """Return all samples that are there, oldest first.

        Raises:
            TemporaryError, PermanentError: the buffer could not be read.
        """
        result = self._libbpf.calls.ring_buffer__consume(self._pointer)
        if result < 0:
            raise failure("the ring buffer cannot be read", -result)
        taken = self._taken.copy()
        self._taken.clear()
        return taken

    def close(self) -> None:
        """Free it. A second call does nothing."""
        if self._pointer:
            self._libbpf.calls.ring_buffer__free(self._pointer)
            self._pointer = None
