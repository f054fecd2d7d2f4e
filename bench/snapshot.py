"""A snapshot of all zombies: inside the agent, and as a command, next to other tools.

Compared is processor time, user's and kernel's, which other load on the machine
disturbs least; what the clock on the wall said stands in brackets.
"""

import resource
import subprocess
import sys
import time
import urllib.request
from typing import NamedTuple

import agent
from figures import MISSING, Figure, at_least, median
from machine import cpu_seconds, free_port, room_for, wait_until
from work import zombies

PS = "ps -eo pid,ppid,state,cmd | awk '$3 == \"Z\"' > /dev/null"
PSUTIL = """
import psutil, time
began, cpu = time.perf_counter(), time.process_time()
found = [p.info for p in psutil.process_iter(["pid", "ppid", "status", "create_time"])
         if p.info["status"] == psutil.STATUS_ZOMBIE]
print(time.process_time() - cpu, time.perf_counter() - began)
"""


class Took(NamedTuple):
    """Seconds of processor time, and on the wall."""

    cpu: float
    wall: float


def measure(scale):
    figures = []
    for count in scale.snapshot_sizes:
        with room_for(count), zombies(count):
            figures += _size(count, 3 if scale.quick or count > 50_000 else 7)
    return figures


def _size(count, rounds):
    inside, keys, ps, scan, psutil, exporter = [], [], [], [], [], []
    with _Inside() as ours, _node_exporter() as scrape:
        for _ in range(rounds):
            keys.append(ours.keys(count))
            inside.append(ours.reconcile())
            ps.append(_took(PS))
            scan.append(_took(f"{sys.executable} -m tracer scan --no-kubernetes > /dev/null"))
            if count <= 50_000:
                psutil.append(_psutil())
                exporter.append(scrape())
    within_ratio, whole_ratio = _times(ps, inside), _times(ps, scan)
    title = f"{count:,} zombies: snapshot in the agent"
    figures = [
        _ratio(
            title,
            within_ratio,
            50 if count >= 10_000 else None,
            f"{_ms(inside)} (read alone {_ms(keys)}) against ps | awk {_ms(ps)}",
        ),
        _ratio(
            "… tracer scan, the whole process",
            whole_ratio,
            8 if count >= 300_000 else 1 if count >= 5000 else None,
            f"{_ms(scan)} against ps | awk {_ms(ps)}",
        ),
    ]
    for name, times in (("psutil", psutil), ("node_exporter's processes collector", exporter)):
        if times and None not in times:
            ratio = _times(times, inside)
            figures.append(
                _ratio(f"… against {name}", ratio, 50 if count >= 10_000 else None, f"{_ms(times)}")
            )
        elif times:
            figures.append(Figure(f"… against {name}", "", MISSING))
    return figures


def _ratio(what, ratio, target, beside):
    if target is None:
        return Figure(what, f"{ratio:.1f} times", beside)
    return at_least(what, ratio, "times", target, beside, digits=1)


def _times(theirs, ours):
    return median([a.cpu / b.cpu for a, b in zip(theirs, ours, strict=True)])


def _ms(times):
    cpu, wall = (median(column) for column in zip(*times, strict=True))
    return f"{1000 * cpu:.1f} ({1000 * wall:.1f}) ms"


def _took(command):
    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    began, cpu = time.perf_counter(), used()
    subprocess.run(command, shell=True, check=True)
    return Took(used() - cpu, time.perf_counter() - began)


def _call(function):
    began, cpu = time.perf_counter(), time.process_time()
    function()
    return Took(time.process_time() - cpu, time.perf_counter() - began)


class _Inside:
    """What the agent does at each snapshot, by its own parts, in the agent's steady state."""

    def __enter__(self):
        from tracer.clock import boot_ns
        from tracer.sources.core.source import CoreSource
        from tracer.table.table import Table

        self._now = boot_ns
        self._source = CoreSource(min_age_ns=0)
        self._source.start()
        self._table = Table(0)
        self.reconcile()  # the first detects them all
        return self

    def __exit__(self, *_):
        self._source.close()

    def keys(self, count):
        found = 0

        def read():
            nonlocal found
            found = sum(1 for _ in self._source.snapshot().keys())  # noqa: SIM118 - no mapping

        took = _call(read)
        if found < count:
            raise RuntimeError(f"the snapshot has {found} of {count} zombies")
        return took

    def reconcile(self):
        return _call(lambda: self._table.reconcile(self._source.snapshot(), self._now()))


def _psutil():
    done = subprocess.run(
        ["/usr/bin/python3", "-c", PSUTIL],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    return Took(*map(float, done.stdout.split())) if done.returncode == 0 else None


class _node_exporter:  # noqa: N801 - used as a function
    """Yield a function that scrapes it and returns what that took: it collects nothing else."""

    def __enter__(self):
        path = agent.installed("prometheus-node-exporter", "node_exporter")
        self._process = None
        if path is None:
            return lambda: None
        self._url = f"http://127.0.0.1:{free_port()}/metrics"
        address = self._url.split("/")[2]
        self._process = subprocess.Popen(
            [
                path,
                "--collector.disable-defaults",
                "--web.disable-exporter-metrics",
                "--collector.processes",
                f"--web.listen-address={address}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, 20, "node_exporter answers")
        return self._scrape

    def __exit__(self, *_):
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self):
        try:
            self._scrape()
        except OSError:
            return False
        return True

    def _scrape(self):
        began, cpu = time.perf_counter(), cpu_seconds(self._process.pid)
        with urllib.request.urlopen(self._url, timeout=60) as answer:
            text = answer.read().decode()
        if 'node_scrape_collector_success{collector="processes"} 1' not in text:
            return None
        wall = time.perf_counter() - began
        return Took(cpu_seconds(self._process.pid) - cpu, wall)
