"""Whether a process in uninterruptible sleep stays there, or only passes through.

Each vfork(2) and many a disk read are a moment in state D. The scheduler counts for
every thread how often it was given a processor (/proc/PID/schedstat, third number): a
count that stays the same means that it has not moved.
"""

import time
from collections import OrderedDict
from typing import NamedTuple

from tracer.model import Identity, Process
from tracer.procfs.fs import ProcFs

_LOOK_NS = 20_000_000
"""For so long one is looked at: a vfork until its exec takes a few milliseconds."""
_PAUSE_SECONDS = 0.004
_SECOND_NS = 1_000_000_000
_LOOKS_A_SECOND = 5
"""Of these looks, so that many stuck parents (a dead NFS server) do not hold up others."""
_KEPT = 1024


class _Still(NamedTuple):
    identity: Identity
    schedstat: bytes
    since_boot_ns: int


class UninterruptibleSleep:
    """Remembers since when processes have not moved. Not thread-safe."""

    def __init__(self, proc: ProcFs) -> None:
        self._proc = proc
        self._known: OrderedDict[int, _Still] = OrderedDict()
        self._looks: list[int] = []

    def unmoved_ns(self, process: Process, now_boot_ns: int) -> int | None:
        """Return for how long a process has been seen not to move.

        None when it is not in state D or has left it; 0 when there was no time to look.
        """
        if process.state != "D":
            return None
        pid = process.identity.pid
        schedstat = self._proc.read(f"{pid}/schedstat") or b""
        known = self._known.get(pid)
        if known is not None and known[:2] == (process.identity, schedstat):
            return max(_LOOK_NS, now_boot_ns - known.since_boot_ns)
        self._looks = [look for look in self._looks if now_boot_ns - look < _SECOND_NS]
        if len(self._looks) >= _LOOKS_A_SECOND:
            return 0
        self._looks.append(now_boot_ns)
        if not self._stays(pid, schedstat):
            return None
        self._known[pid] = _Still(process.identity, schedstat, now_boot_ns)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return _LOOK_NS

    def _stays(self, pid: int, schedstat: bytes) -> bool:
        """Look at it until it moves, for a little while."""
        deadline = time.monotonic_ns() + _LOOK_NS
        while time.monotonic_ns() < deadline:
            time.sleep(_PAUSE_SECONDS)
            stat = self._proc.stat(pid)
            if stat is None or stat.state != "D":
                return False
            if (self._proc.read(f"{pid}/schedstat") or b"") != schedstat:
                return False
        return True
