"""Lookups in BPF maps: only ENOENT means that there is no entry."""

import ctypes
import errno
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.clock import boot_ns, ticks
from tracer.errors import PermanentError, TemporaryError
from tracer.model import Child, Gone, Identity
from tracer.sources.core import wire
from tracer.sources.core.history import Processes
from tracer.sources.core.libbpf import Libbpf
from tracer.sources.core.maps import Map
from tracer.sources.core.records import Records

ANYBODY = Identity(1234, 5678)


def failing(number):
    """Return a map whose lookups fail with that errno."""

    def lookup(_fd, _key, _value):
        ctypes.set_errno(number)
        return -1

    libbpf = SimpleNamespace(calls=SimpleNamespace(bpf_map_lookup_elem=lookup))
    return Map(libbpf, "processes", 0, wire.PROCESS.size)


def test_no_entry_is_no_history():
    assert Processes(failing(errno.ENOENT), None).get(ANYBODY) is None
    assert Processes(failing(0), failing(errno.ENOENT)).get(ANYBODY) is None


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN, errno.EINTR, errno.ENOMEM])
def test_a_lookup_that_may_work_later_is_a_temporary_error(number):
    with pytest.raises(TemporaryError, match=rf"map processes cannot be read.*errno {number}"):
        Processes(failing(number), None).get(ANYBODY)
    with pytest.raises(TemporaryError):
        Processes(failing(errno.ENOENT), failing(number)).get(ANYBODY)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL, errno.EFAULT])
def test_a_lookup_that_cannot_work_is_a_permanent_error(number):
    with pytest.raises(PermanentError, match=f"errno {number}"):
        Processes(failing(number), None).get(ANYBODY)


@pytest.mark.kernel
def test_a_descriptor_that_is_no_map_is_not_an_absent_entry():
    with pytest.raises(PermanentError, match="Bad file descriptor"):
        Map(Libbpf(), "processes", -1, 8).lookup(b"\0" * 8)


def test_threads_that_look_up_at_the_same_time_get_their_own_values():
    """The value of a key is the key here; other threads run between the call and its result."""

    def lookup(_fd, key, value):
        value[:] = key
        time.sleep(0)
        return 0

    entries = Map(SimpleNamespace(calls=SimpleNamespace(bpf_map_lookup_elem=lookup)), "m", 0, 8)

    def look_up(key):
        return all(entries.lookup(key) == key for _ in range(2000))

    keys = [bytes([number]) * 8 for number in range(4)]
    with ThreadPoolExecutor(len(keys)) as threads:
        assert all(threads.map(look_up, keys))


@given(st.integers(0, 1 << 56))
def test_one_of_the_keys_of_a_start_time_is_the_kernels(start_ns):
    """The kernel has nanoseconds, we have ticks."""
    starts = list(wire.starts(ticks(start_ns)))
    assert (start_ns >> wire.START_SHIFT) & 0xFFFFFFFF in starts
    assert len(starts) <= 2


ZOMBIE = wire.HEADER.pack(wire.RECORD_ZOMBIE) + wire.ZOMBIE.pack(
    *[7] * 12, b"forker", *[7] * 6, b"zombie"
)
GONE = wire.HEADER.pack(wire.RECORD_GONE) + wire.GONE.pack(10**10, boot_ns(), 7)


def test_the_type_in_its_header_says_what_a_record_is():
    names = SimpleNamespace(path=lambda *_: None)
    records = Records(names)
    # A longer record than ours is one of a later version of the same type.
    seen = records.observations([ZOMBIE, GONE, GONE + b"\0" * 200])
    assert [type(one) for one in seen] == [Child, Gone, Gone]
    assert records.parse_errors == 0


@pytest.mark.parametrize(
    "record",
    [b"", b"\1", wire.HEADER.pack(1), ZOMBIE[:-1], GONE[:-1], wire.HEADER.pack(99) + ZOMBIE[8:]],
)
def test_a_record_of_an_unknown_type_is_counted_and_the_others_are_read(record):
    records = Records(SimpleNamespace(path=lambda *_: None))
    assert [type(one) for one in records.observations([GONE, record, GONE])] == [Gone, Gone]
    assert records.parse_errors == 1
