"""A million zombies: all counted, at a bounded cost. Needs 12 GB of memory."""

import re
import time
import urllib.request

import agent
from figures import Figure, within
from machine import cpu_seconds, cpu_share, free_port, room_for, rss_mb, wait_until
from work import zombies

PARENTS = 20


def measure(scale):
    count = scale.million
    if not count:
        return [Figure("one million zombies", "", "only with --million")]
    address = f"127.0.0.1:{free_port()}"
    with room_for(count), agent.agent("--metrics-address", address, min_age="1s") as one:
        url = f"http://{address}/metrics"
        before, cpu, began = _counted(url), cpu_seconds(one.pid), time.monotonic()
        with zombies(count, PARENTS):
            made = time.monotonic() - began
            wait_until(lambda: _counted(url) - before >= count, 300, f"{count} counted")
            counted = time.monotonic() - began
            inflow = cpu_seconds(one.pid) - cpu
            steady = cpu_share(one.pid, 130)
            found = _counted(url) - before
            (now, peak), lines = rss_mb(one.pid), len(one.lines)
    by_event = {}
    for _, line in one.lines[:lines]:
        by_event[line["event"]] = by_event.get(line["event"], 0) + 1
    return [
        Figure(
            f"{count:,} zombies of {PARENTS} parents, counted",
            f"{found:,.0f}",
            f"made in {made:.0f} s, all counted after {counted:.0f} s",
            "all",
            found >= count,
        ),
        within("… agent's RSS", now, "MB", 200, f"peak {peak:.0f} MB", 0),
        within("… agent's CPU then", steady, "%", 5, f"{inflow:.1f} s of CPU while they came"),
        Figure("… lines in the log", f"{lines}", f"{by_event}"),
    ]


def _counted(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    return sum(
        map(float, re.findall(r"^zombie_tracer_zombies(?:\{.*\})? (\S+)$", text, re.MULTILINE))
    )
