"""Processes per second that the machine can make, without and with the agent."""

import agent
import work
from figures import Figure, at_least, median, spread


def measure(scale):
    """Alternate; each ratio is taken between neighbours, which share the machine's load."""
    seconds = 1 if scale.quick else 3
    rounds = 4 if scale.quick else 12
    ours, theirs, plain = [], [], []
    for _ in range(rounds):
        without = work.cycles_per_second(seconds)
        with agent.agent():
            ours.append(work.cycles_per_second(seconds))
        after = work.cycles_per_second(seconds)
        plain.append((without + after) / 2)
        with agent.exitsnoop() as process:
            theirs.append(process and work.cycles_per_second(seconds))
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    beside = ""
    if None not in theirs:
        ratio = median([a / b for a, b in zip(theirs, plain, strict=True)])
        beside = f"exitsnoop {ratio:.3f}"
    return [
        at_least(
            "fork+exit+wait throughput, with/without", median(ratios), "", 0.98, beside, digits=3
        ),
        Figure("", f"{spread(ratios)} in {rounds} rounds", f"{median(plain):.0f}/s without"),
    ]
