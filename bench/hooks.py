"""The time that the hooks add to each process's lifetime, by the kernel's statistics.

A life is one fork, one exec, one exit, one release, and one wait call of the parent.
"""

import os

import agent
import bpfstats
import work
from figures import MISSING, Figure, median, within

HOOKS = ("on_fork", "on_exec", "on_exit", "on_free", "on_wait")
ROUNDS = 10


def measure(scale):
    """Run 100,000 processes in rounds, ours and exitsnoop's hooks in turns."""
    each = (10_000 if scale.quick else 100_000) // ROUNDS
    ours, theirs, bare = [], [], []
    with bpfstats.enabled():
        counting = _counting(each)
        for _ in range(ROUNDS):
            with agent.agent() as one:
                ours.append(_round(one.pid, each))
            with agent.exitsnoop() as process:
                theirs.append(process and _round(process.pid, each))
            with agent.bpftrace() as process:
                bare.append(process and _round(process.pid, each))
    hooks = {name: median([one[name][0] for one in ours]) for name in HOOKS}
    lives = [sum(one[name][0] for name in HOOKS) for one in ours]
    total_us = median(lives) / 1000
    parts = " + ".join(f"{name} {ns / 1000:.2f}" for name, ns in hooks.items())
    figures = [
        within("all hooks, one process lifetime", total_us, "µs", 2, f"= {parts}"),
        Figure("", "", f"of each, the counting itself: {counting / 1000:.2f} (an empty program)"),
    ]
    beside = _lifetimes(theirs)
    if beside is None:
        figures.append(Figure("… against exitsnoop's one hook", "", MISSING))
    else:
        ratio = median([b / a for a, b in zip(lives, beside, strict=True)])
        figures.append(
            Figure(
                "… against libbpf-tools' exitsnoop",
                f"1/{ratio:.1f}",
                f"exitsnoop {median(beside) / 1000:.2f} µs",
                "≤ 1/5",
                ratio >= 5,
            )
        )
    beside = _lifetimes(bare)
    if beside is not None:
        figures.append(
            Figure("", "", f"bpftrace counting exits by comm {median(beside) / 1000:.2f} µs")
        )
    return figures


def _counting(count):
    with bpfstats.empty_program():
        return _round(os.getpid(), count)["empty"][0]


def _round(pid, count):
    before = bpfstats.programs(pid)
    work.run("count", count)
    work.run("execs", count // 20)
    spent = bpfstats.spent(before, bpfstats.programs(pid))
    if not spent:
        raise RuntimeError(f"no BPF program of process {pid} ran")
    return spent


def _lifetimes(rounds):
    if None in rounds:
        return None
    return [sum(ns for ns, _ in spent.values()) for spent in rounds]
