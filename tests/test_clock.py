"""The clocks: one offset between them, however often it is asked for."""

import subprocess
import sys
import time

from tracer import clock


def test_a_moment_has_one_wall_time():
    """Lines of one zombie can be joined by the time of its start."""
    first = clock.boot_to_wall_ns()
    assert {clock.boot_to_wall_ns() for _ in range(1000)} == {first}
    assert abs(clock.boot_ns() + first - time.time_ns()) < clock.NS // 100


def test_the_wall_time_of_a_moment_is_the_same_in_every_process():
    """People use the creation time of a process as a key."""
    show = "from tracer.clock import boot_to_wall_ns; print(boot_to_wall_ns())"
    running = [
        subprocess.Popen([sys.executable, "-c", show], stdout=subprocess.PIPE, text=True)
        for _ in range(30)
    ]
    offsets = {int(process.communicate()[0]) for process in running}
    assert len(offsets) == 1
    assert offsets.pop() % (clock.NS // 1000) == 0


def test_a_step_of_the_wall_clock_is_followed(monkeypatch):
    offset = clock._BootToWall()
    before = offset()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 7 * clock.NS)
    assert abs(offset() - before - 7 * clock.NS) < clock.NS // 100


def test_times_are_rfc_3339_in_utc_with_microseconds():
    assert clock.rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456Z"
    assert clock.ticks(clock.TICK_NS * 7 + 1) == 7
