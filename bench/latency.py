"""How long after the minimum age a zombie is reported, while other processes come and go."""

import time

import agent
from figures import percentile, within
from machine import wait_until
from work import holding, running

EACH_SECOND = 12.5
LOAD = 500


def measure(scale):
    # Fewer than make a storm.
    count = 40 if scale.quick else 150
    cases = (
        ("zombie_detected after min-age, agent, 10s", 10, 0.5, ()),
        ("… agent, 1s", 1, 0.5, ()),
        ("… --follow -o json, 1s", 1, 0.15, ("--follow", "-o", "json")),
    )
    return [
        _case(title, count, min_age, limit, arguments) for title, min_age, limit, arguments in cases
    ]


def _case(title, count, min_age, limit, arguments):
    with (
        agent.agent(*arguments, min_age=f"{min_age}s") as one,
        running("rate", LOAD, 3600),
        holding("trickle", count, EACH_SECOND) as (parent, deaths),
    ):
        wait_until(
            lambda: len(one.detected({parent.pid})) == count,
            min_age + 30,
            f"{count} zombies detected",
        )
        found = one.detected({parent.pid})
        time.sleep(0.1)
    late = [found[int(pid)][0] - int(dead_ns) / 1e9 - min_age for pid, dead_ns in deaths]
    return within(
        f"{title}: p99",
        percentile(late, 99),
        "s",
        limit,
        f"p50 {percentile(late, 50):.3f} s, {count} zombies, beside {LOAD} exits a second",
        digits=3,
    )
