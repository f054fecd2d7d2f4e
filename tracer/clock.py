"""One clock inside: CLOCK_BOOTTIME in nanoseconds. Wall-clock time only when printing."""

import os
import time
from datetime import UTC, datetime

NS = 1_000_000_000
"""Nanoseconds in a second."""

TICK_NS = NS // os.sysconf("SC_CLK_TCK")
"""Nanoseconds in a tick, the unit of start times in /proc/PID/stat (proc(5), field 22)."""


def boot_ns() -> int:
    """Return nanoseconds since boot, time asleep included (the kernel's ktime_get_boottime)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class _BootToWall:
    """What must be added to a boot time to get Unix time; does not change from line to line.

    The two clocks cannot be read at the same moment, so each reading is slightly off. The
    first one is kept until the wall clock is stepped. (NTP slews both clocks alike.)
    """

    _STEP_NS = NS // 1000
    _TRIES = 5

    def __init__(self) -> None:
        self._offset_ns: int | None = None

    def __call__(self) -> int:
        """Return nanoseconds."""
        offset_ns = self._read()
        known = self._offset_ns
        if known is None or abs(offset_ns - known) > self._STEP_NS:
            self._offset_ns = known = offset_ns
        return known

    def _read(self) -> int:
        """Read both clocks several times; the two that were read closest together count."""
        readings = []
        for _ in range(self._TRIES):
            before = boot_ns()
            wall = time.time_ns()
            took = boot_ns() - before
            readings.append((took, wall - before - took // 2))
            if took < self._STEP_NS // 10:
                break
        return min(readings)[1]


boot_to_wall_ns = _BootToWall()


def rfc3339(unix_ns: int) -> str:
    """Render Unix time in nanoseconds as RFC 3339 UTC with microseconds."""
    seconds, rest = divmod(unix_ns, NS)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    # isoformat(), because strftime's format costs ten times as much.
    return f"{moment.isoformat()[:19]}.{rest // 1000:06d}Z"


def ticks(start_boot_ns: int) -> int:
    """Convert a start time in boot nanoseconds to the tick that /proc shows.

    The kernel truncates as well (nsec_to_clock_t in kernel/time/time.c), so a
    start time from BPF and one from /proc agree exactly.
    """
    return start_boot_ns // TICK_NS
