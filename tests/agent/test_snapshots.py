"""When snapshots are taken, and what is concluded from losses. Pure: the time is a number."""

from itertools import pairwise

import pytest
from support.records import child

from tracer.agent.snapshots import (
    COST_SHARE,
    EVERY_NS,
    FULL_MAP_EVERY_NS,
    FULL_MAP_NS,
    SnapshotSchedule,
)
from tracer.clock import NS
from tracer.model import Detected, Losses, Zombie


class Run:
    """A schedule, and an engine that polls every half a second."""

    def __init__(self):
        self.now = 0
        self.schedule = SnapshotSchedule(0)
        self.losses = Losses()

    def until(self, end, cpu_ns=0):
        """Let the time pass; return when snapshots were taken."""
        taken = []
        while self.now < end:
            self.schedule.note(self.losses, self.now)
            if self.schedule.due(self.now):
                self.schedule.begin()
                self.schedule.taken(self.now, cpu_ns)
                taken.append(self.now / NS)
            self.now += NS // 2
        return taken


def test_one_a_minute():
    assert Run().until(200 * NS) == [0, 60, 120, 180]


def test_one_at_once_after_a_loss():
    run = Run()
    run.until(10 * NS)
    run.losses = Losses(ring_full=3)
    assert run.until(80 * NS) == [10, 70]


def test_often_while_the_map_overflows_and_a_minute_longer():
    """D8: "full" is a state of now. It was for ever, after a single overflow."""
    run = Run()
    run.until(10 * NS)
    run.losses = Losses(map_full=1)
    often = run.until(10 * NS + FULL_MAP_NS)
    assert often == [10 + 2 * n for n in range(len(often))]
    assert len(often) == FULL_MAP_NS // FULL_MAP_EVERY_NS
    rare = run.until(1000 * NS)
    assert {b - a for a, b in pairwise(rare)} == {EVERY_NS / NS}
    run.losses = Losses(map_full=2)
    assert len(run.until(1010 * NS)) == 5


def test_what_a_snapshot_cannot_add_to_a_full_map_is_no_reason_for_the_next():
    """It would take one after the other, at all the cost that is allowed."""
    run = Run()
    run.until(NS)
    for second in range(1, 20):
        run.losses = Losses(map_full=1000 * second, queue_full=1000 * second)
        run.schedule.begin()
        run.schedule.note(run.losses, run.now, after_snapshot=True)
        run.schedule.taken(run.now, 0)
        assert run.schedule.next_boot_ns == run.now + FULL_MAP_EVERY_NS
        assert run.until(run.now + FULL_MAP_EVERY_NS) == []
    run.losses = Losses(map_full=20_000, queue_full=20_000, ring_full=1)
    run.schedule.note(run.losses, run.now, after_snapshot=True)
    run.schedule.taken(run.now, 0)
    assert run.schedule.next_boot_ns < run.now + FULL_MAP_EVERY_NS


def test_never_more_than_its_share_of_a_core():
    run = Run()
    cost = NS
    while run.now < 300 * NS:
        run.losses = Losses(ring_full=run.losses.ring_full + 1)
        taken = run.until(run.now + NS, cost)
        if taken:
            assert run.schedule.next_boot_ns >= taken[-1] * NS + COST_SHARE * cost


def test_losses_are_reported_once_a_minute_with_all_that_came_between():
    run = Run()
    run.losses = Losses(map_full=2, ring_full=1)
    run.schedule.note(run.losses, 0)
    first = run.schedule.loss_to_report(0)
    assert "were lost (map_full 2, ring_full 1)" in first
    assert "--map-entries" in first
    run.schedule.note(Losses(map_full=2, ring_full=5), 10 * NS)
    assert run.schedule.loss_to_report(10 * NS) is None
    run.schedule.note(Losses(map_full=2, ring_full=6), 50 * NS)
    second = run.schedule.loss_to_report(61 * NS)
    assert "were lost (ring_full 5)" in second
    assert "--map-entries" not in second
    assert run.schedule.loss_to_report(200 * NS) is None


def test_a_counter_that_could_not_be_read_is_no_gain_and_no_loss():
    run = Run()
    run.losses = Losses(recursion_misses=5)
    run.until(10 * NS)
    run.losses = Losses()
    assert run.until(20 * NS) == []
    run.losses = Losses(recursion_misses=5)
    assert run.until(30 * NS) == []


@pytest.mark.parametrize(
    ("loss_at", "born_at", "unseen"),
    [
        (None, 20, True),  # nothing was ever lost
        (10, 20, True),  # what was lost was lost before it was forked
        (30, 20, False),  # its death may be what was lost
        (None, 4, False),  # it is older than the hooks
    ],
)
def test_an_unseen_death_shows_that_the_hooks_are_gone(loss_at, born_at, unseen):
    """D8: losses before a zombie's birth excuse nothing. They did, for the agent's life."""
    schedule = SnapshotSchedule(0)
    if loss_at is not None:
        schedule.note(Losses(map_full=1), loss_at * NS)
    dead = child(4711, start_boot_ns=born_at * NS, exit_boot_ns=None)
    found = [Detected(Zombie(dead, 40 * NS, 40 * NS))]
    expected = dead.identity if unseen else None
    assert schedule.unseen_death(found, 5 * NS) == expected
    assert schedule.unseen_death(found, None) is None
    schedule.note(Losses(map_full=9, queue_full=9), 50 * NS, after_snapshot=True)
    assert schedule.unseen_death(found, 5 * NS) == expected
    seen = child(4711, start_boot_ns=born_at * NS, exit_boot_ns=35 * NS)
    assert schedule.unseen_death([Detected(Zombie(seen, 40 * NS, 40 * NS))], 5 * NS) is None
