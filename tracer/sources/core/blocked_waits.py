"""The wait calls in which the threads of a process are now, from its wait queue in the kernel."""

from ctypes import c_int32

from tracer.model import BlockedWait, Identity, WaitFor
from tracer.sources.core import wire
from tracer.sources.core.bpf_object import RunWith
from tracer.sources.core.maps import Map

_WNOTHREAD = 0x20000000  # include/uapi/linux/wait.h

_KINDS = {
    wire.WAITS_FOR_PROCESS: WaitFor.PROCESS,
    wire.WAITS_FOR_GROUP: WaitFor.GROUP,
}


class WaitQueues:
    """Reads wait queues. One thread at a time: the program has one place for its answer.

    Args:
        run: runs the program.
        answer: the map with that place.
    """

    def __init__(self, run: RunWith, answer: Map) -> None:
        self._run = run
        self._answer = answer

    def read(self, identity: Identity) -> tuple[BlockedWait, ...] | None:
        """Return the waits for exits in the queue of a process; None when it is unreadable.

        Raises:
            TemporaryError, PermanentError: the program could not be run.
        """
        found = c_int32(self._run(wire.WAITS_ARGUMENTS.pack(*identity))).value
        if found == wire.WAITS_UNREADABLE:
            return None
        raw = self._answer.lookup(wire.FIRST) if found else None
        waits = wire.BLOCKED.iter_unpack((raw or b"")[: found * wire.BLOCKED.size])
        return tuple(_call(wire.BlockedWire._make(one)) for one in waits)


def _call(wait: wire.BlockedWire) -> BlockedWait:
    own_children = bool(wait.flags & _WNOTHREAD)
    return BlockedWait(
        wanted=_KINDS.get(wait.kind, WaitFor.ANY),
        number=wait.wanted or None,
        options=wait.flags,
        of_thread=wait.thread if own_children else None,
    )
