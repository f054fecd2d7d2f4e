"""The ageing table: exactly once, in order, and equal to the truth after a snapshot."""

import contextlib
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tracer.clock import NS
from tracer.model import (
    Aged,
    Child,
    Detected,
    Gone,
    Identity,
    ListSnapshot,
    Reaped,
    StormChanged,
    StormPhase,
    Zombie,
)
from tracer.table.storm import StormCounter, StormRules
from tracer.table.table import Table

MIN_AGE = 10 * NS


def child(pid, *, exit_ns=None, start=1, parent=1, last_ran=None):
    return Child(
        Identity(pid, start),
        parent,
        start * 10_000_000,
        exit_boot_ns=exit_ns,
        last_ran_boot_ns=last_ran,
    )


def names(transitions):
    return [type(transition).__name__ for transition in transitions]


def test_a_child_is_detected_when_it_reaches_the_minimum_age():
    table = Table(MIN_AGE)
    assert table.apply([child(5, exit_ns=0 + NS)], 2 * NS) == []
    assert table.next_due_boot_ns() == NS + MIN_AGE
    assert table.tick(NS + MIN_AGE - 1) == []
    [detected] = table.tick(NS + MIN_AGE)
    assert isinstance(detected, Detected)
    assert detected.zombie.age_ns(NS + MIN_AGE) == MIN_AGE
    assert table.tick(NS + MIN_AGE + 1) == []


def test_a_child_reaped_before_the_minimum_age_is_never_reported():
    table = Table(MIN_AGE)
    table.apply([child(5, exit_ns=NS)], NS)
    assert table.apply([Gone(Identity(5, 1), 2 * NS)], 2 * NS) == []
    assert table.tick(100 * NS) == []
    assert table.totals() == (0, 0, 0)


def test_ages_are_reported_once_each_and_those_passed_at_detection_not_at_all():
    table = Table(MIN_AGE)
    [first] = table.apply([child(5, last_ran=1)], 700 * NS)
    assert isinstance(first, Detected)
    assert table.tick(3599 * NS) == []
    [hour] = table.tick(3601 * NS)
    assert isinstance(hour, Aged)
    assert hour.step_ns == 3600 * NS
    [day] = table.tick(90_000 * NS)
    assert day.step_ns == 86_400 * NS
    assert table.next_due_boot_ns() is None


def test_a_late_tick_reports_only_the_highest_age():
    table = Table(MIN_AGE)
    table.apply([child(5, exit_ns=0 + 1)], MIN_AGE + 1)
    [aged] = table.tick(4000 * NS)
    assert aged.step_ns == 3600 * NS


def test_reaping_reports_the_lifetime():
    table = Table(MIN_AGE)
    table.apply([child(5, exit_ns=NS)], 20 * NS)
    [reaped] = table.apply([Gone(Identity(5, 1), 31 * NS)], 32 * NS)
    assert isinstance(reaped, Reaped)
    assert reaped.lifetime_ns == 30 * NS


def test_the_same_pid_with_another_start_is_another_process():
    table = Table(0)
    first = table.apply([child(5, exit_ns=1, start=1)], 1)
    second = table.apply([child(5, exit_ns=2, start=2)], 2)
    assert names(first + second) == ["Detected", "Detected"]
    [reaped] = table.apply([Gone(Identity(5, 1), 3)], 3)
    assert reaped.zombie.child.identity == Identity(5, 1)


def test_zombies_of_one_moment_know_each_other():
    table = Table(0)
    out = table.apply([child(pid, exit_ns=1) for pid in range(1, 11)], 1)
    assert [detected.zombie.siblings for detected in out] == [9] * 10
    out = Table(0).reconcile(ListSnapshot(1, [child(pid, exit_ns=1) for pid in (1, 2)]), 1)
    assert [detected.zombie.siblings for detected in out] == [1, 1]


def test_a_snapshot_moves_a_zombie_to_its_new_parent():
    table = Table(0)
    orphan = child(5, exit_ns=1, parent=40)
    table.apply([orphan], 1)
    table.reconcile(ListSnapshot(2, [replace(orphan, parent_pid=1)]), 2)
    assert table.get(Identity(5, 1)).child.parent_pid == 1
    assert (table.siblings(40), table.siblings(1)) == (0, 1)


def test_a_broken_snapshot_takes_nothing_for_gone():
    class Broken(ListSnapshot):
        def keys(self):
            yield from ()
            raise OSError

    table = Table(0)
    table.apply([child(5, exit_ns=1)], 1)
    with contextlib.suppress(OSError):
        table.reconcile(Broken(2, []), 2)
    assert table.totals().zombies == 1


def test_what_a_broken_snapshot_brought_is_reported_later():
    """A source fails in the middle of many: what was detected by then was not reported yet."""
    many = [child(pid, exit_ns=1, parent=pid) for pid in range(1, 1501)]

    class Broken(ListSnapshot):
        def keys(self):
            for number, key in enumerate(super().keys()):
                if number == 1400:
                    raise OSError
                yield key

    table = Table(0)
    with contextlib.suppress(OSError):
        table.reconcile(Broken(2, many), 2)
    out = table.tick(3) + table.reconcile(ListSnapshot(4, many), 4)
    assert sorted(each.zombie.child.identity.pid for each in out) == list(range(1, 1501))
    assert names(out) == ["Detected"] * 1500


def test_restored_zombies_are_not_reported_again():
    table = Table(MIN_AGE)
    known = Zombie(child(5, exit_ns=1), 1, detected_boot_ns=MIN_AGE + 1)
    table.restore(known, 60 * NS)
    assert table.reconcile(ListSnapshot(65 * NS, [known.child]), 65 * NS) == []
    [aged] = table.tick(601 * NS)
    assert aged.step_ns == 600 * NS
    [reaped] = table.reconcile(ListSnapshot(700 * NS, []), 700 * NS)
    assert isinstance(reaped, Reaped)


RULES = StormRules(burst=20, refill_per_second=1, interval_ns=30 * NS, samples=3)


def test_the_first_rate_of_a_storm_does_not_depend_on_the_uptime():
    table = Table(0, RULES)
    now = 100_000 * NS
    out = table.apply([child(pid, exit_ns=now - 1, parent=7) for pid in range(100, 1100)], now)
    assert out[-1].storm.rate_per_second == 980


def test_many_zombies_become_a_storm_with_exact_counts():
    table = Table(0, RULES)
    out = table.apply([child(pid, exit_ns=1, parent=7) for pid in range(100, 1100)], NS)
    assert names(out) == ["Detected"] * 20 + ["StormChanged"]
    began = out[-1].storm
    assert (began.phase, began.parent.pid) == (StormPhase.BEGAN, 7)
    assert (began.zombies, began.detected) == (1000, 980)
    assert table.totals() == (1000, 1000, 0)
    assert table.siblings(7) == 1000
    gone = [Gone(Identity(pid, 1), 2 * NS) for pid in range(200, 300)]
    assert table.apply(gone, 2 * NS) == []
    assert (
        table.apply([child(pid, exit_ns=9 * NS, parent=7) for pid in range(2000, 2060)], 9 * NS)
        == []
    )
    [ongoing] = table.tick(31 * NS + 1)
    assert (ongoing.storm.phase, ongoing.storm.zombies) == (StormPhase.ONGOING, 960)
    assert (ongoing.storm.detected, ongoing.storm.reaped) == (1040, 100)
    assert 1.9 < ongoing.storm.rate_per_second < 2.1
    assert len(ongoing.storm.samples) == 3
    [*aged, ended] = table.tick(70 * NS)
    assert names(aged) == ["Aged"] * 20
    assert ended.storm.phase is StormPhase.ENDED
    [later] = table.apply([child(5000, exit_ns=75 * NS, parent=7)], 75 * NS)
    assert isinstance(later, Detected)


def test_a_storm_says_when_its_last_zombie_is_reaped():
    table = Table(0, RULES)
    table.apply([child(pid, exit_ns=1, parent=7) for pid in range(100, 150)], NS)
    table.tick(32 * NS)
    table.tick(64 * NS)
    out = table.reconcile(ListSnapshot(65 * NS, []), 65 * NS)
    assert names(out) == ["Reaped"] * 20
    [drained] = table.tick(100 * NS)
    assert drained.storm.phase is StormPhase.DRAINED
    assert drained.storm.reaped == 30
    assert table.tick(1000 * NS) == []
    assert table.next_due_boot_ns() is None


def test_a_storm_that_is_reaped_at_once_has_drained_when_it_ends():
    table = Table(0, RULES)
    children = [child(pid, exit_ns=1, parent=7) for pid in range(100, 150)]
    table.apply(children, NS)
    table.apply([Gone(dead.identity, 2 * NS) for dead in children], 2 * NS)
    [drained] = table.tick(32 * NS)
    assert drained.storm.phase is StormPhase.DRAINED
    assert (drained.storm.zombies, drained.storm.reaped) == (0, 30)
    assert table.tick(1000 * NS) == []
    assert table.next_due_boot_ns() is None


def test_what_is_left_of_an_ended_storm_asks_for_no_attention():
    """A due time in the past would keep the loop awake for as long as they stay."""
    table = Table(0, RULES)
    table.apply([child(pid, exit_ns=1, parent=7) for pid in range(100, 150)], NS)
    table.tick(32 * NS)
    table.tick(64 * NS)
    # One of those counted is reaped, the others stay.
    table.apply([Gone(Identity(149, 1), 65 * NS)], 65 * NS)
    table.tick(100_000 * NS)
    assert table.tick(200_000 * NS) == []
    assert table.next_due_boot_ns() is None


def test_a_leak_too_slow_for_a_storm_is_counted_once_it_is_large():
    """Every second one, for ever: the lines and the memory have an end all the same."""
    table = Table(0, StormRules(listed=100))
    phases = []
    for second in range(1, 2001):
        out = table.apply([child(second, exit_ns=second * NS, parent=7)], second * NS)
        out += table.tick(second * NS)
        phases += [t.storm.phase for t in out if isinstance(t, StormChanged)]
    assert len(list(table.listed())) == 100
    assert table.totals().zombies == 2000
    assert phases[0] is StormPhase.BEGAN
    assert set(phases[1:]) == {StormPhase.ONGOING}
    assert len(phases) <= 1 + 1900 / 30
    # Once nothing changes any more there is nothing to wake for but ages.
    table.tick(3000 * NS)
    assert table.tick(3500 * NS) == []
    due = table.next_due_boot_ns()
    assert due is None or due > 3500 * NS
    table.apply([Gone(Identity(pid, 1), 3600 * NS) for pid in range(1, 50)], 3600 * NS)
    last = [t for t in table.tick(3700 * NS) if isinstance(t, StormChanged)]
    assert [t.storm.phase for t in last] == [StormPhase.ENDED]


def test_samples_of_a_storm_are_zombies_that_are_there():
    table = Table(0, RULES)
    children = [child(pid, exit_ns=1, parent=7) for pid in range(100, 200)]
    table.apply(children, NS)
    [before] = table.storms(NS)
    table.apply([Gone(each.child.identity, 2 * NS) for each in before.samples], 2 * NS)
    gone = {each.child.identity for each in before.samples}
    left = [each for each in children if each.identity not in gone]
    table.reconcile(ListSnapshot(3 * NS, left), 3 * NS)
    [after] = table.storms(3 * NS)
    assert len(after.samples) == RULES.samples
    assert gone.isdisjoint(each.child.identity for each in after.samples)


def test_a_restored_storm_stays_counted():
    table = Table(0, RULES)
    counter = StormCounter(Identity(7, 0), 1, detected=50, reaped=10, reported_boot_ns=1)
    table.restore_storm(counter, [(pid, 1) for pid in range(100, 140)])
    children = [child(pid, exit_ns=1, parent=7) for pid in range(100, 140)]
    assert table.reconcile(ListSnapshot(NS, children), NS) == []
    assert table.totals().zombies == 40
    [storm] = table.storms(NS)
    assert (storm.zombies, storm.detected, storm.reaped) == (40, 50, 10)


class Processes(dict):
    """Start times of living processes by pid, and how often each was asked for."""

    def __init__(self, **starts):
        super().__init__({int(name[1:]): start for name, start in starts.items()})
        self.asked = []

    def __call__(self, pid):
        self.asked.append(pid)
        return Identity(pid, self[pid]) if pid in self else None


def storming(processes, count=50, start=10):
    """Return a table with a storm of pid 7, and its children."""
    table = Table(0, RULES, processes)
    children = [child(pid, exit_ns=1, parent=7, start=start) for pid in range(100, 100 + count)]
    table.apply(children, NS)
    return table, children


def test_a_process_that_took_a_parent_s_pid_has_a_storm_of_its_own():
    processes = Processes(p7=5)
    table, _ = storming(processes)
    processes[7] = 20
    other = [child(pid, exit_ns=1, parent=7, start=21) for pid in range(200, 230)]
    out = table.apply(other, 2 * NS)
    assert names(out) == ["Detected"] * 20 + ["StormChanged"]
    assert out[-1].storm.parent == Identity(7, 20)
    assert out[-1].storm.detected == 10
    # This one is older than the process that has the pid now.
    late = child(300, exit_ns=1, parent=7, start=10)
    assert names(table.apply([late], 2 * NS)) == ["Detected"]
    counted = {storm.parent: storm.zombies for storm in table.storms(2 * NS)}
    assert counted == {Identity(7, 5): 30, Identity(7, 20): 10}
    assert table.totals().zombies == 81


def test_a_parent_is_asked_for_once_per_pass():
    processes = Processes(p7=5)
    table, children = storming(processes, 10_000)
    table.reconcile(ListSnapshot(2 * NS, children), 2 * NS)
    table.tick(40 * NS)
    assert len(processes.asked) <= 3


def test_adopted_zombies_leave_the_storm_of_a_parent_that_died():
    """Nothing is reported twice, and each storm has only the zombies of its parent."""
    processes = Processes(p7=5, p1=1)
    table, children = storming(processes)
    del processes[7]
    adopted = [replace(each, parent_pid=1) for each in children]
    drained, adopter = (
        changed.storm for changed in table.reconcile(ListSnapshot(9 * NS, adopted), 9 * NS)
    )
    assert (drained.parent, drained.phase) == (Identity(7, 5), StormPhase.DRAINED)
    assert (drained.zombies, drained.detected, drained.reaped) == (0, 30, 0)
    assert (drained.adopted, drained.new_detected, drained.new_reaped) == (30, 0, 0)
    assert (adopter.parent, adopter.phase) == (Identity(1, 1), StormPhase.BEGAN)
    assert (adopter.zombies, adopter.detected, adopter.new_detected) == (50, 30, 0)
    assert adopter.rate_per_second == 0
    assert len(adopter.samples) == RULES.samples
    assert {each.child.parent_pid for each in adopter.samples} == {1}
    assert table.totals() == (50, 50, 0)
    assert (table.siblings(7), table.siblings(1)) == (0, 50)
    assert [storm.parent for storm in table.storms(9 * NS)] == [Identity(1, 1)]
    assert table.reconcile(ListSnapshot(10 * NS, adopted), 10 * NS) == []
    table.reconcile(ListSnapshot(11 * NS, []), 11 * NS)
    last = [each.storm for each in table.tick(60 * NS) if isinstance(each, StormChanged)]
    assert [(storm.parent.pid, storm.phase, storm.reaped) for storm in last] == [
        (1, StormPhase.DRAINED, 30)
    ]
    assert table.totals() == (0, 50, 50)


def test_a_few_adopted_zombies_do_not_stop_the_listing_of_the_adopter_s_own():
    processes = Processes(p7=5, p1=1)
    table, children = storming(processes, 25)
    adopted = [replace(each, parent_pid=1) for each in children]
    _, adopter = table.reconcile(ListSnapshot(9 * NS, adopted), 9 * NS)
    assert (adopter.storm.phase, adopter.storm.zombies) == (StormPhase.ENDED, 25)
    own = child(500, exit_ns=9 * NS, parent=1, start=10)
    assert names(table.apply([own], 10 * NS)) == ["Detected"]


def test_the_report_of_a_storm_waits_for_a_snapshot_when_its_parent_has_died():
    """Until then nobody knows which process has its zombies."""
    processes = Processes(p7=5, p1=1)
    table, children = storming(processes)
    assert not table.wants_snapshot
    del processes[7]
    assert [each for each in table.tick(40 * NS) if isinstance(each, StormChanged)] == []
    assert table.wants_snapshot
    due = table.next_due_boot_ns()
    assert due is None or due > 40 * NS, "no busy loop until then"
    adopted = [replace(each, parent_pid=1) for each in children]
    out = table.reconcile(ListSnapshot(41 * NS, adopted), 41 * NS)
    assert [each.storm.parent.pid for each in out] == [7, 1]
    assert not table.wants_snapshot


def test_a_storm_whose_zombies_stay_is_reported_though_its_parent_cannot_be_read():
    processes = Processes(p7=5)
    table, children = storming(processes)
    processes.clear()
    table.tick(40 * NS)
    table.reconcile(ListSnapshot(41 * NS, children), 41 * NS)
    assert not table.wants_snapshot
    [ended] = [each for each in table.tick(42 * NS) if isinstance(each, StormChanged)]
    assert (ended.storm.parent, ended.storm.zombies) == (Identity(7, 5), 50)


def test_snapshots_of_storms_are_counted_by_key_alone():
    class Keys(ListSnapshot):
        unpacked = 0

        def child(self, index):
            Keys.unpacked += 1
            return super().child(index)

    children = [child(pid, last_ran=1, parent=7) for pid in range(1, 5001)]
    table = Table(MIN_AGE, RULES)
    table.reconcile(Keys(20 * NS, children), 20 * NS)
    assert table.totals().zombies == 5000
    assert Keys.unpacked <= 512


class History(RuleBasedStateMachine):
    """Any interleaving of deaths, reapings, losses, repetitions, ticks and snapshots."""

    def __init__(self):
        super().__init__()
        self.parents = {1: 0, 100: 0, 101: 0}
        self.table = Table(5 * NS, StormRules(burst=3, refill_per_second=0.1), self.identity)
        self.now = NS
        self.truth = {}
        self.detected = set()
        self.reaped = set()
        self.pending = []
        self.next_start = 1

    def identity(self, pid):
        return Identity(pid, self.parents[pid])

    def take(self, transitions):
        for transition in transitions:
            if isinstance(transition, Detected):
                identity = transition.zombie.child.identity
                assert identity not in self.detected
                self.detected.add(identity)
            elif isinstance(transition, Reaped):
                identity = transition.zombie.child.identity
                assert identity in self.detected
                assert identity not in self.reaped
                self.reaped.add(identity)
            elif isinstance(transition, StormChanged):
                assert transition.storm.zombies >= 0

    @rule(pid=st.integers(1, 12), parent=st.integers(100, 101), seen=st.booleans())
    def dies(self, pid, parent, seen):
        if pid in self.truth:
            return
        dead = child(pid, exit_ns=self.now if seen else None, start=self.next_start, parent=parent)
        self.next_start += 1
        self.truth[pid] = dead
        self.pending.append(dead)

    @rule(pid=st.integers(1, 12))
    def is_reaped(self, pid):
        dead = self.truth.pop(pid, None)
        if dead is not None:
            self.pending.append(Gone(dead.identity, self.now))

    @rule(pid=st.integers(1, 12), parent=st.integers(100, 101))
    def is_adopted(self, pid, parent):
        dead = self.truth.get(pid)
        # The adopter is an ancestor of the parent, and so older than the child.
        if dead is not None and self.parents[parent] < dead.identity.start_ticks:
            self.truth[pid] = replace(dead, parent_pid=parent)

    @rule(parent=st.integers(100, 101))
    def parent_dies(self, parent):
        """Init adopts its zombies, and another process takes its pid."""
        self.parents[parent] = self.next_start
        self.next_start += 1
        for pid, dead in self.truth.items():
            if dead.parent_pid == parent:
                self.truth[pid] = replace(dead, parent_pid=1)

    @rule(lose=st.sets(st.integers(0, 20)), twice=st.booleans())
    def arrives(self, lose, twice):
        kept = [o for i, o in enumerate(self.pending) if i not in lose]
        self.pending = []
        self.take(self.table.apply(kept, self.now))
        if twice:
            self.take(self.table.apply([o for o in kept if isinstance(o, Gone)], self.now))

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds):
        self.now += seconds * NS
        self.take(self.table.tick(self.now))

    @rule()
    def snapshot(self):
        self.pending = []
        self.take(self.table.reconcile(ListSnapshot(self.now, list(self.truth.values())), self.now))
        listed = {zombie.child.identity for zombie, _ in self.table.listed()}
        counted = {identity for _, identity in self.table.storm_members()}
        assert not listed & counted
        for parent, identity in self.table.storm_members():
            assert parent == self.identity(self.truth[identity.pid].parent_pid)
        assert listed | counted == {dead.identity for dead in self.truth.values()}
        self.take(self.table.tick(self.now))
        self.now += 5 * NS
        self.take(self.table.tick(self.now))
        assert self.table.totals().zombies == len(self.truth)

    @invariant()
    def counts_add_up(self):
        totals = self.table.totals()
        assert totals.zombies == totals.detected - totals.reaped >= 0
        assert totals.detected >= len(self.detected)


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300_000), st.integers(1, 1 << 39)), unique_by=lambda m: m[0])
)
def test_the_compact_set_keeps_exactly_its_members(members):
    from tracer.table.pidset import PidSet

    store = PidSet()
    for group, (pid, start) in enumerate(members):
        store.add(pid, start, group)
    assert len(store) == len(members)
    for group, (pid, start) in enumerate(members):
        assert store.group(pid, start) == group
        assert store.group(pid, start + 1) is None
    kept = [pid for pid, _ in members[::2]]
    assert {i for i, _ in store.missing_from(kept)} == {Identity(*m) for m in members[1::2]}
    for pid, start in members:
        assert store.discard(pid, start) is not None
    assert len(store) == 0
