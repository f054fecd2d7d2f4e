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
    """What must be added to a boot time to get Unix time: the same in every process.

    Both clocks come from one timekeeper, and NTP slews them alike, so that their difference
    stays the same until the wall clock is stepped. They cannot be read at the same moment:
    each pair of readings bounds the difference to some hundred nanoseconds. Rounded to a
    millisecond it is the same whoever reads it, and a process's creation time, which people
    use as a key, is the same in every run.
    """

    _ROUND_NS = NS // 1000
    _STEP_NS = _ROUND_NS * 6 // 10
    _TRIES = 16
    _NARROW_NS = 200

    def __init__(self) -> None:
        self._offset_ns: int | None = None

    def __call__(self) -> int:
        """Return nanoseconds, a whole number of milliseconds."""
        offset_ns = self._read()
        known = self._offset_ns
        if known is None or abs(offset_ns - known) > self._STEP_NS:
            known = (offset_ns + self._ROUND_NS // 2) // self._ROUND_NS * self._ROUND_NS
            self._offset_ns = known
        return known

    def _read(self) -> int:
        """Read the clocks until the bounds of their difference are narrow."""
        low = high = 0
        for _ in range(self._TRIES):
            before = boot_ns()
            wall = time.time_ns()
            bounds = wall - boot_ns(), wall - before
            if not low or bounds[0] > high or bounds[1] < low:  # the first, or after a step
                low, high = bounds
            else:
                low, high = max(low, bounds[0]), min(high, bounds[1])
            if high - low <= self._NARROW_NS:
                break
        return (low + high) // 2


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
