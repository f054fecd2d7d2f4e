"""Maps of the bcc program: only the expected errno means that there is no entry, or no room."""

import ctypes
import errno
import struct

import pytest

from tracer.errors import PermanentError, TemporaryError
from tracer.sources.bcc.maps import Counters, HashMap, Queue

VALUE = struct.Struct("=Q")


class Failing:
    """A libbcc whose every call fails with that errno."""

    def __init__(self, number):
        self.number = number

    def __getattr__(self, name):
        def call(*_):
            ctypes.set_errno(self.number)
            return -1

        return call


def calls(number):
    """Return each call of a map by name, all of which fail with that errno."""
    library = Failing(number)
    table, queue = HashMap(library, 0, VALUE), Queue(library, 0, VALUE)
    return {
        "get": lambda: table.get(1),
        "put": lambda: table.put(1, 2),
        "delete": lambda: table.delete(1),
        "next_key": lambda: table.next_key(None),
        "take": lambda: list(queue.take(5)),
        "sum": lambda: Counters(library, 0, 1).sum(0),
    }


CALLS = list(calls(0))


def test_absence_and_fullness_are_answers():
    absent = calls(errno.ENOENT)
    assert [absent[name]() for name in CALLS[:5]] == [None, False, None, None, []]
    assert calls(errno.E2BIG)["put"]() is False


@pytest.mark.parametrize("name", CALLS)
def test_any_other_failure_is_an_error_of_its_kind(name):
    with pytest.raises(TemporaryError, match="errno 16"):
        calls(errno.EBUSY)[name]()
    with pytest.raises(PermanentError, match="errno 9"):
        calls(errno.EBADF)[name]()
