"""Whether a process in uninterruptible sleep (D state) stays there, or is there for a moment.

Every vfork(2) and many disk reads put a process in state D for a short time. The scheduler
counts for each thread how often it ran on a processor (/proc/PID/schedstat, third number): a
count that stays the same means that the thread has not run.
"""

import time
from collections import OrderedDict
from typing import NamedTuple

from tracer.model import Identity, Process
from tracer.procfs.fs import ProcFs

_WATCH_NS = 20_000_000
"""How long a process is watched: from vfork to exec takes a few milliseconds."""
_PAUSE_SECONDS = 0.004
_SECOND_NS = 1_000_000_000
_WATCHES_PER_SECOND = 5
"""So many at most: with a dead NFS server there are many stuck parents."""
_KEPT = 1024


class _Stuck(NamedTuple):
    identity: Identity
    schedstat: bytes
    since_boot_ns: int


class UninterruptibleSleep:
    """Remembers since when processes have not run. Not thread-safe."""

    def __init__(self, proc: ProcFs) -> None:
        self._proc = proc
        self._known: OrderedDict[int, _Stuck] = OrderedDict()
        self._watches: list[int] = []

    def unmoved_ns(self, process: Process, now_boot_ns: int) -> int | None:
        """Return for how long a process is known not to have run, in nanoseconds.

        None when it is not in state D or has left it; 0 when too many others were watched
        in the last second.

        Raises:
            OSError: /proc cannot be read now.
        """
        if process.state != "D":
            return None
        pid = process.identity.pid
        schedstat = self._proc.read(f"{pid}/schedstat") or b""
        known = self._known.get(pid)
        if known is not None and known[:2] == (process.identity, schedstat):
            return max(_WATCH_NS, now_boot_ns - known.since_boot_ns)
        self._watches = [began for began in self._watches if now_boot_ns - began < _SECOND_NS]
        if len(self._watches) >= _WATCHES_PER_SECOND:
            return 0
        self._watches.append(now_boot_ns)
        if not self._stays(pid, schedstat):
            return None
        self._known[pid] = _Stuck(process.identity, schedstat, now_boot_ns)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return _WATCH_NS

    def _stays(self, pid: int, schedstat: bytes) -> bool:
        """Watch it until it runs, for a short time; return whether it did not."""
        deadline = time.monotonic_ns() + _WATCH_NS
        while time.monotonic_ns() < deadline:
            time.sleep(_PAUSE_SECONDS)
            stat = self._proc.stat(pid)
            if stat is None or stat.state != "D":
                return False
            if (self._proc.read(f"{pid}/schedstat") or b"") != schedstat:
                return False
        return True
