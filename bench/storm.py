"""Many short processes, a few of them left as zombies: exactly those are reported."""

import contextlib
import time

import agent
from figures import Figure
from machine import wait_until
from work import holding

KEEP = 100
BY_LINE_PARENTS = 10


def measure(scale):
    total = 20_000 if scale.quick else 100_000
    return [_one_by_one(total), _in_a_storm(total)]


def _one_by_one(total):
    """From ten parents, none of which has enough zombies for a storm."""
    wanted, allowed = {}, set()
    with agent.agent() as one, contextlib.ExitStack() as held:
        for _ in range(BY_LINE_PARENTS):
            parent, lines = held.enter_context(holding("storm", total // BY_LINE_PARENTS, KEEP))
            wanted |= {int(words[0]): parent.pid for words in lines if len(words) == 1}
            allowed |= _late(lines)
        parents = set(wanted.values())
        with contextlib.suppress(RuntimeError):  # the comparison below says what is missing
            wait_until(lambda: len(one.detected(parents)) >= len(wanted), 30, "all detected")
        time.sleep(1)  # for one too many
        found = one.detected(parents)
        lost = _losses(one)
    missing, extra = wanted.keys() - found.keys(), found.keys() - wanted.keys() - allowed
    return Figure(
        f"{total:,} processes, 1 in {KEEP} left: reported line by line",
        f"{len(found)} of {len(wanted)}",
        f"{len(missing)} missing, {len(extra)} extra, lost on the way: {lost}",
        "exactly those",
        not missing and not extra,
    )


def _in_a_storm(total):
    """From one parent: some by line, the others counted."""
    with agent.agent() as one, holding("storm", total, KEEP) as (parent, lines):
        wanted = {int(words[0]) for words in lines if len(words) == 1}
        late = _late(lines)

        def reported():
            return len(one.detected({parent.pid})) + _counted(one, parent.pid)

        with contextlib.suppress(RuntimeError):
            wait_until(lambda: reported() >= len(wanted), 60, "all detected or counted")
        time.sleep(1)
        found = one.detected({parent.pid})
        extra = found.keys() - wanted - late
        number = reported()
        lost = _losses(one)
    return Figure(
        "… the same from one parent: by line and in a storm",
        f"{number} of {len(wanted)}",
        f"{len(found)} lines, {len(extra)} extra, lost on the way: {lost}",
        "exactly those",
        len(wanted) <= number <= len(wanted) + len(late) and not extra,
    )


def _counted(one, parent_pid):
    counted = 0
    for _, line in list(one.lines):
        if line["event"] == "zombie_storm" and line["parent"]["pid"] == parent_pid:
            counted = line["storm"]["detected"]
    return counted


def _late(lines):
    """Return the pids of children that were reaped, but only after the minimum age."""
    return {int(words[0]) for words in lines if words[1:] == ["late"]}


def _losses(one):
    for _, line in reversed(list(one.lines)):
        if line["event"] == "source_changed":
            return line.get("lost")
    return 0
