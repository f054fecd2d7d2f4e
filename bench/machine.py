"""The kernel's figures for processes, and the limits that large measurements need."""

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

SYSCTLS = {"pid_max": 4_194_304, "threads-max": 2_200_000}
GONE_SECONDS = 900
"""Time for init to reap the remaining zombies; 300,000 took a minute."""


def cpu_seconds(pid):
    """CPU time of all threads. From schedstat: stat counts in ticks of 10 ms."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
    except FileNotFoundError as error:
        raise RuntimeError(f"process {pid} has ended while it was measured") from error
    return total / 1e9


def cpu_share(pid, seconds):
    """Return the share of one core, in percent, that a process takes from now on."""
    began, cpu = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    return 100 * (cpu_seconds(pid) - cpu) / (time.monotonic() - began)


def rss_mb(pid):
    """Return (now, at most so far): megabytes of 2^20 bytes, files it maps included."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return tuple(int(fields[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM"))


def rss_text(pid):
    now, peak = rss_mb(pid)
    return f"{now:.1f} MB (peak {peak:.1f})"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def available_gb():
    with open("/proc/meminfo") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["MemAvailable"].split()[0]) / 2**20


def threads():
    """Return the number of threads on the machine, zombies among them (proc(5), loadavg)."""
    return int(Path("/proc/loadavg").read_text().split()[3].split("/")[1])


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {seconds} s still not: {what}")
        time.sleep(0.02)


@contextlib.contextmanager
def room_for(zombies):
    """Raise pid_max and threads-max; restore them also when interrupted.

    Raises:
        RuntimeError: the memory would not do. A zombie takes 10.3 KB of the kernel's.
    """
    need_gb = zombies * 10.3 / 2**20 + 1
    if available_gb() < need_gb:
        raise RuntimeError(
            f"{zombies} zombies need {need_gb:.0f} GB of memory, {available_gb():.0f} are free"
        )
    before = {}
    handlers = {
        number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    living = threads()
    try:
        for name, wanted in SYSCTLS.items():
            path = Path("/proc/sys/kernel") / name
            before[path] = path.read_text()
            if int(before[path]) < 2 * zombies + 5000:
                path.write_text(str(wanted))
        yield
    finally:
        try:
            # With the old limits and pids still taken, nobody on the machine could fork.
            if zombies > 50_000:
                print("waiting for init to reap what is left", file=sys.stderr)
            wait_until(
                lambda: threads() < living + zombies // 100 + 1000,
                GONE_SECONDS,
                "the zombies reaped by init",
            )
        finally:
            for path, text in before.items():
                path.write_text(text)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)
