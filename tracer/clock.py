"""One clock inside: CLOCK_BOOTTIME in nanoseconds. Wall-clock time only when printing."""

import os
import time
from datetime import UTC, datetime

NS = 1_000_000_000
"""Nanoseconds in a second."""

TICK_NS = NS // os.sysconf("SC_CLK_TCK")
"""Length of the tick in which /proc/PID/stat counts start times (proc(5), field 22)."""


def boot_ns() -> int:
    """Return nanoseconds since boot, time asleep included (the kernel's ktime_get_boottime)."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_to_wall_ns() -> int:
    """Return what must be added to a boot time to get Unix time, both in nanoseconds.

    Asked anew for each use: the wall clock is stepped and slewed, the boot clock is not.
    """
    return time.time_ns() - boot_ns()


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
