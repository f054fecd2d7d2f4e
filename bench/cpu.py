"""The agent's processor time: at rest, and while many processes are forked and reaped."""

import agent
import work
from figures import MISSING, Figure, median, within
from machine import cpu_seconds, cpu_share
from work import running


def measure(scale):
    seconds = 10 if scale.quick else 60
    rest, thousand, most = [], [], []
    with agent.agent(min_age="10s") as one:
        cpu_share(one.pid, 2)  # what the start left to do
        rest.append(cpu_share(one.pid, seconds))
        with running("rate", 1000, seconds + 5):
            cpu_share(one.pid, 1)
            thousand.append(cpu_share(one.pid, seconds / 2))
        rates = []
        for _ in range(3):
            before = cpu_seconds(one.pid)
            rates.append(work.cycles_per_second(seconds / 6))
            most.append(100 * (cpu_seconds(one.pid) - before) / (seconds / 6))
    beside = MISSING
    with agent.exitsnoop() as process:
        if process is not None:
            before = cpu_seconds(process.pid)
            rate = work.cycles_per_second(seconds / 6)
            share = 100 * (cpu_seconds(process.pid) - before) / (seconds / 6)
            beside = f"exitsnoop {share:.2f} % at {rate:.0f}/s"
    return [
        within(f"agent CPU at rest, over {seconds} s", median(rest), "%", 0.3),
        within("… at 1,000 reaped exits a second", median(thousand), "%", 0.5),
        within(f"… at the most, {median(rates):.0f} a second", median(most), "%", 2, beside),
        Figure("", "(percent of one core)"),
    ]
