"""What a killed agent leaves for the next one: nothing lost, nothing reported twice."""

import errno
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.records import NEVER, child
from support.zombies import zombies

from tracer.clock import NS, TICK_NS, boot_ns
from tracer.model import (
    Attribution,
    Cgroup,
    CgroupOrigin,
    Detected,
    Gone,
    Identity,
    ListSnapshot,
    Reaped,
    Record,
    StormFacts,
    StormPhase,
)
from tracer.model.event import Event, EventName
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process
from tracer.state.checkpoint import RETRY_NS, SAVE_NS, Checkpoint
from tracer.state.format import Change
from tracer.state.store import STATE, StateStore
from tracer.table.storm import StormCounter, StormRules
from tracer.table.table import Table

BOOT = "0f5b1d2c-boot"
PROC = ProcFs(Path("/proc"))
RULES = StormRules(burst=2, refill_per_second=0.001)
GONE_PARENTS = (4_000_001, 4_000_002, 4_000_003)
"""Parents that are gone: pids that a test machine does not reach."""
CGROUP = Cgroup("/kubepods/pod1", CgroupOrigin.KERNEL)


class Reporter:
    """Knows one cgroup and one cause for every storm, and what was restored."""

    def __init__(self):
        self.zombies = []
        self.storms = []

    def restore(self, zombie, now_boot_ns):
        self.zombies.append(zombie)

    def restore_storm(self, parent, comm, cgroup, cause):
        self.storms.append((parent, comm, cgroup, cause))

    def storm_facts(self, parent):
        return StormFacts(Attribution(cgroup=CGROUP), None, NEVER)


class Source:
    """Knows these zombies below the minimum age."""

    def __init__(self):
        self.dead = []

    def young(self, now_boot_ns):
        return self.dead

    def look(self):
        return ListSnapshot(boot_ns(), self.dead)


class Agent:
    """The checkpoint of an agent, its table and its reporter."""

    def __init__(self, folder, rules=None, *, writes=True, say=None):
        self.reporter = Reporter()
        self.table = Table(0, rules, partial(living_process, PROC))
        store = StateStore(folder, BOOT, say=say)
        self.source = Source()
        self.checkpoint = Checkpoint(store, PROC, self.source, writes=writes)
        self.checkpoint.open()
        self.unwritten = self.checkpoint.restore(self.table, self.reporter, boot_ns())

    def save(self):
        self.checkpoint.save(self.table, boot_ns())

    def event(self, name, zombie, step_ns=None):
        """Return an event as the reporter emits it, marked if it repeats one."""
        record = Record(zombie, NS, None, None, Attribution(), None)
        event = Event(name, boot_ns(), record=record, step_ns=step_ns)
        return self.checkpoint.lines.emit(event)

    def write(self, name, zombie, step_ns=None):
        """Do as the sink does up to the moment in which the line is written."""
        event = self.event(name, zombie, step_ns)
        self.checkpoint.lines.writing(event)
        return event

    def written(self, name, zombie, step_ns=None):
        """Write a line."""
        event = self.write(name, zombie, step_ns)
        self.checkpoint.lines.written(event)
        return event


@pytest.fixture
def next_agent(tmp_path):
    """Start an agent; the one before it is dead."""
    agents = []

    def start(rules=None, **options):
        for agent in agents:
            agent.checkpoint.close()
        agents.append(Agent(tmp_path, rules, **options))
        return agents[-1]

    yield start
    agents[-1].checkpoint.close()


def dead(*pids, parent=1_296_034):
    """Return dead children that started now: a child is younger than its parent."""
    now = boot_ns()
    children = (child(pid, parent, now_boot_ns=now) for pid in pids)
    return [
        replace(each, identity=Identity(each.identity.pid, now // TICK_NS)) for each in children
    ]


def content(folder):
    return (folder / STATE).read_bytes()


def identities(transitions):
    return [t.zombie.child.identity for t in transitions if isinstance(t, Detected)]


def test_a_line_that_was_not_written_is_reported_by_the_next_agent(next_agent):
    """It waited for its pod's name, or for a slow reader, when the agent was killed."""
    agent = next_agent()
    written, waiting = agent.table.apply(dead(1001, 1002), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, written.zombie)
    agent.save()
    again = next_agent()
    assert identities(again.table.tick(boot_ns())) == [waiting.zombie.child.identity]
    assert [each.child for each in again.reporter.zombies] == [written.zombie.child]


def lines(agent):
    """Return the event, time and marking of the lines that an agent is to write at its start."""
    names = {Detected: EventName.ZOMBIE_DETECTED, Reaped: EventName.ZOMBIE_REAPED}
    return [
        (
            type(each).__name__,
            each.zombie.child,
            agent.event(names[type(each)], each.zombie).repeated,
        )
        for each in agent.unwritten
    ]


def test_a_line_in_doubt_is_repeated_once_and_marked(next_agent):
    """Killed after the note: whether the line is out, nobody knows."""
    agent = next_agent()
    first, last = agent.table.apply(dead(1001, 1002), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, first.zombie)
    agent.write(EventName.ZOMBIE_DETECTED, last.zombie)
    for _ in range(3):  # killed again before it is written: it stays in doubt
        again = next_agent()
        assert lines(again) == [("Detected", last.zombie.child, True)]
    # Another line is written first: that says nothing about this one.
    again.written(EventName.ZOMBIE_AGED, first.zombie, 60 * NS)
    again = next_agent()
    assert lines(again) == [("Detected", last.zombie.child, True)]
    assert again.written(EventName.ZOMBIE_DETECTED, last.zombie).repeated
    assert lines(next_agent()) == []


def test_a_reaping_in_doubt_is_repeated_with_its_own_time(next_agent):
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    [gone] = agent.table.apply([Gone(found.zombie.child.identity, boot_ns())], boot_ns())
    event = agent.write(EventName.ZOMBIE_REAPED, gone.zombie)
    again = next_agent()
    assert lines(again) == [("Reaped", found.zombie.child, True)]
    assert again.unwritten[0].gone_boot_ns == event.at_boot_ns
    assert again.reporter.zombies == [again.unwritten[0].zombie], "for its container and cause"
    assert not list(again.table.listed())
    again.written(EventName.ZOMBIE_REAPED, gone.zombie)
    assert lines(next_agent()) == []


def test_an_age_in_doubt_is_reported_again_and_marked(next_agent):
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    agent.write(EventName.ZOMBIE_AGED, found.zombie, 60 * NS)
    again = next_agent()
    [(_, step_ns)] = again.table.listed()
    assert step_ns is None, "the table reports it again"
    assert not again.event(EventName.ZOMBIE_AGED, found.zombie, 600 * NS).repeated
    assert again.written(EventName.ZOMBIE_AGED, found.zombie, 60 * NS).repeated
    [(_, step_ns)] = next_agent().table.listed()
    assert step_ns == 60 * NS


def test_a_line_that_could_not_be_written_is_reported_by_the_next_agent(next_agent):
    """A full disk: written() does not come, and the next line's note must not confirm it."""
    agent = next_agent()
    lost, out = agent.table.apply(dead(1001, 1002), boot_ns())
    agent.write(EventName.ZOMBIE_DETECTED, lost.zombie)
    agent.written(EventName.ZOMBIE_DETECTED, out.zombie)
    assert lines(next_agent()) == [("Detected", lost.zombie.child, False)]


def test_a_detection_that_waited_to_be_written_is_reported_though_it_is_reaped_by_then(next_agent):
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.event(EventName.ZOMBIE_DETECTED, found.zombie)
    agent.save()
    for _ in range(2):
        again = next_agent()
        assert lines(again) == [("Detected", found.zombie.child, False)]
    [gone] = again.table.reconcile(ListSnapshot(boot_ns(), []), boot_ns())
    assert gone.zombie.child == found.zombie.child


def test_a_zombie_that_the_filters_reject_is_forgotten_when_it_is_reaped(next_agent, tmp_path):
    """It is detected in the table, and there is no line to wait for."""
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.save()
    agent.table.apply([Gone(found.zombie.child.identity, boot_ns())], boot_ns())
    agent.save()
    assert not agent.checkpoint.lines.state.zombies
    assert not list(next_agent().table.listed())


def test_a_line_that_is_left_out_on_purpose_is_not_in_doubt(next_agent):
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.checkpoint.lines.written(agent.event(EventName.ZOMBIE_DETECTED, found.zombie))
    assert lines(next_agent()) == []


def test_a_line_in_doubt_outlives_a_file_that_is_written_anew(next_agent, tmp_path):
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    agent.table.apply([Gone(found.zombie.child.identity, boot_ns())], boot_ns())
    agent.write(EventName.ZOMBIE_REAPED, found.zombie)
    (tmp_path / STATE).unlink()
    agent.save()
    assert lines(next_agent()) == [("Reaped", found.zombie.child, True)]


def test_zombies_below_the_minimum_age_are_saved_while_they_are_young(next_agent, tmp_path):
    """A kill -9 would cost them the exit time and the forker, which only the source knows."""
    agent = next_agent()
    agent.source.dead = dead(1001, 1002)
    agent.save()
    before = content(tmp_path)
    agent.save()
    assert content(tmp_path) == before, "each once"
    again = next_agent()
    assert [zombie.child for zombie, _ in again.table.listed()] == agent.source.dead
    assert again.unwritten == []
    agent = next_agent()
    agent.source.dead = dead(1001)
    agent.table.reconcile(ListSnapshot(boot_ns(), []), boot_ns())
    agent.source.dead = []
    agent.save()
    assert not list(next_agent().table.listed())


def test_at_the_end_all_are_saved_however_young(next_agent):
    agent = next_agent()
    agent.source.dead = [*dead(1001, 1002), replace(dead(1003)[0], exit_boot_ns=None)]
    agent.source.young = lambda _now: ()
    agent.checkpoint.save_young(agent.table, boot_ns())
    again = next_agent()
    assert [zombie.child for zombie, _ in again.table.listed()] == agent.source.dead[:2]


def test_what_is_written_while_the_state_is_saved_is_not_reported_again(next_agent):
    agent = next_agent()
    [late] = agent.table.apply(dead(1001), boot_ns())
    agent.save()
    agent.written(EventName.ZOMBIE_DETECTED, late.zombie)
    assert not next_agent().table.tick(boot_ns())


def test_notes_and_saves_from_two_threads_at_once_lose_nothing(next_agent):
    agent = next_agent()
    found = agent.table.apply(dead(*range(1001, 1151)), boot_ns())

    def write():
        for each in found:
            agent.written(EventName.ZOMBIE_DETECTED, each.zombie)

    sink = threading.Thread(target=write)
    sink.start()
    while sink.is_alive():
        agent.save()
    sink.join()
    again = next_agent()
    assert not again.table.tick(boot_ns())
    assert len(again.reporter.zombies) == 150


def test_a_reaping_is_forgotten_only_when_it_is_written(next_agent):
    """A kill -9 between the reaping and its line: the next agent finds it gone, and reports it."""
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    agent.table.apply([Gone(found.zombie.child.identity, boot_ns())], boot_ns())
    agent.save()
    second = next_agent()
    [gone] = second.table.reconcile(ListSnapshot(boot_ns(), []), boot_ns())
    assert gone.zombie.child.identity == found.zombie.child.identity
    second.written(EventName.ZOMBIE_REAPED, gone.zombie)
    assert not list(next_agent().table.listed())


def test_an_age_that_was_reported_is_not_reported_again(next_agent):
    agent = next_agent()
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    agent.written(EventName.ZOMBIE_AGED, found.zombie, 60 * NS)
    agent.written(EventName.ZOMBIE_AGED, found.zombie, 600 * NS)
    [(_, step_ns)] = next_agent().table.listed()
    assert step_ns == 600 * NS


def test_a_new_parent_is_saved(next_agent):
    agent = next_agent()
    [one] = dead(1001)
    agent.table.apply([one], boot_ns())
    agent.save()
    agent.table.reconcile(ListSnapshot(boot_ns(), [replace(one, parent_pid=1)]), boot_ns())
    agent.save()
    [(zombie, _)] = next_agent().table.listed()
    assert zombie.child == replace(one, parent_pid=1)


def test_nothing_is_written_while_nothing_changes(next_agent, tmp_path):
    agent = next_agent(RULES)
    for found in agent.table.apply(dead(*range(1001, 1011), parent=os.getpid()), boot_ns()):
        if isinstance(found, Detected):
            agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    agent.save()
    before, at = content(tmp_path), (tmp_path / STATE).stat().st_mtime_ns
    for _ in range(20):
        agent.save()
    assert content(tmp_path) == before
    assert (tmp_path / STATE).stat().st_mtime_ns == at
    # Nor by the next agent, which finds everything as it was.
    next_agent(RULES).save()
    assert content(tmp_path) == before


def test_a_change_is_saved_within_a_second_and_the_loop_may_sleep_until_then(next_agent, tmp_path):
    agent = next_agent()
    now = boot_ns() + 100 * NS
    agent.checkpoint.save_when_due(agent.table, now)
    assert agent.checkpoint.next_due_boot_ns() is None
    before = content(tmp_path)
    agent.table.apply(dead(1001), boot_ns())
    agent.checkpoint.save_when_due(agent.table, now + 1)
    assert content(tmp_path) == before
    due = agent.checkpoint.next_due_boot_ns()
    assert now < due <= now + SAVE_NS
    agent.checkpoint.save_when_due(agent.table, due)
    assert content(tmp_path) != before
    assert agent.checkpoint.next_due_boot_ns() is None


def test_after_an_error_the_save_is_tried_again_later_and_has_everything(next_agent, tmp_path):
    said = []
    agent = next_agent(say=said.append)
    (tmp_path / STATE).unlink()
    (tmp_path / STATE).mkdir()
    found, _ = agent.table.apply(dead(1001, 1002), boot_ns())
    now = boot_ns() + 100 * NS
    agent.checkpoint.save_when_due(agent.table, now)
    agent.checkpoint.save_when_due(agent.table, now + RETRY_NS - 1)
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    assert len(said) == 1
    due = agent.checkpoint.next_due_boot_ns()
    assert due >= now + RETRY_NS
    (tmp_path / STATE).rmdir()
    agent.checkpoint.save_when_due(agent.table, due)
    again = next_agent()
    assert len(list(again.table.listed())) == 2
    assert len(again.reporter.zombies) == 1


def test_a_folder_that_cannot_be_used_wakes_nobody(tmp_path):
    agent = Agent(None)
    agent.table.apply(dead(1001), boot_ns())
    agent.checkpoint.save_when_due(agent.table, boot_ns())
    agent.checkpoint.save_when_due(agent.table, boot_ns())
    assert agent.checkpoint.next_due_boot_ns() is None


def test_follow_knows_the_exit_times_and_reports_all_again(next_agent, tmp_path):
    agent = next_agent(RULES)
    [found] = agent.table.apply(dead(1001), boot_ns())
    agent.written(EventName.ZOMBIE_DETECTED, found.zombie)
    before = content(tmp_path)
    follow = Agent(tmp_path, writes=False)
    assert identities(follow.table.tick(boot_ns())) == [found.zombie.child.identity]
    [(zombie, _)] = follow.table.listed()
    assert zombie.child.exit_boot_ns == found.zombie.child.exit_boot_ns
    follow.written(EventName.ZOMBIE_REAPED, zombie)
    follow.save()
    follow.checkpoint.close()
    assert content(tmp_path) == before


def storm_of(next_agent, parent):
    agent = next_agent(RULES)
    agent.table.apply(dead(*range(1001, 1011), parent=parent), boot_ns())
    agent.save()
    return agent


@pytest.mark.parametrize("alive", [True, False])
def test_a_storm_goes_on_while_its_parent_lives(next_agent, alive):
    """Another process that has the parent's pid by now starts with a clean slate."""
    parent = os.getpid()
    agent = storm_of(next_agent, parent)
    if not alive:
        [storm] = agent.checkpoint._state.storms.values()
        another = replace(storm, parent=Identity(parent, 1))
        agent.checkpoint._store.append([Change(storms=(another,))])
    table = next_agent(RULES).table
    assert table.totals().zombies == 8
    out = table.apply(dead(2001, 2002, parent=parent), boot_ns())
    assert len(identities(out)) == (0 if alive else 2)
    [storm] = table.storms(boot_ns())
    assert storm.phase is (StormPhase.ONGOING if alive else StormPhase.ENDED)


def test_a_dead_parent_leaves_no_more_zombies(next_agent):
    """Itself a zombie, it has its pid and its start time still; but its storm is over."""
    with zombies(1) as family:
        [parent] = family.pids
        storm_of(next_agent, parent)
        [storm] = next_agent(RULES).table.storms(boot_ns())
    assert storm.phase is StormPhase.ENDED


def test_the_next_agent_can_attribute_a_storm_though_its_parent_is_gone(next_agent):
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = Identity(parent.pid, PROC.stat(parent.pid).start_ticks)
    comm = PROC.stat(parent.pid).comm
    agent = storm_of(next_agent, parent.pid)
    parent.kill()
    parent.wait()
    parent.stdin.close()
    agent.save()
    for _ in range(2):
        again = next_agent(RULES)
        assert again.reporter.storms == [(who, comm, CGROUP, NEVER)]
        [storm] = again.table.storms(boot_ns())
        assert (storm.phase, storm.zombies, storm.detected) == (StormPhase.ENDED, 8, 8)


class Failing(Reporter):
    """A reporter that cannot read /proc the first time."""

    def restore_storm(self, *facts):
        if not self.storms:
            self.storms.append(None)
            raise OSError(errno.EMFILE, "Too many open files")
        super().restore_storm(*facts)


def test_a_restore_that_failed_in_the_middle_can_be_repeated(next_agent, tmp_path):
    """What is counted twice would never be reaped twice."""
    storm_of(next_agent, os.getpid()).checkpoint.close()
    reporter, table = Failing(), Table(0, RULES, partial(living_process, PROC))
    checkpoint = Checkpoint(StateStore(tmp_path, BOOT), PROC, Source(), writes=True)
    checkpoint.open()
    with pytest.raises(OSError, match="Too many"):
        checkpoint.restore(table, reporter, boot_ns())
    assert table.totals().detected == 0
    checkpoint.restore(table, reporter, boot_ns())
    assert (table.totals().zombies, table.totals().detected) == (8, 8)
    checkpoint.close()


def test_a_storm_that_drained_is_forgotten_and_its_number_can_be_another_s(next_agent):
    agent = storm_of(next_agent, os.getpid())
    members = [identity for _, identity in agent.table.storm_members()]
    agent.table.apply([Gone(each, boot_ns()) for each in members], boot_ns())
    agent.save()
    again = next_agent(RULES)
    assert again.reporter.storms == []
    assert not list(again.table.storm_members())


def test_storms_keep_their_members_apart_over_restarts(next_agent):
    """The next agent gives the storms other numbers than the last one did."""
    agent = next_agent(RULES)
    for number, parent in enumerate(GONE_PARENTS):
        pids = range(2001 + 100 * number, 2011 + 100 * number)
        agent.table.apply(dead(*pids, parent=parent), boot_ns())
    expected = sorted(agent.table.storm_members())
    first = [identity for parent, identity in expected if parent.pid == GONE_PARENTS[0]]
    agent.save()
    assert sorted(next_agent(RULES).table.storm_members()) == expected
    again = next_agent(RULES)
    again.table.apply([Gone(each, boot_ns()) for each in first], boot_ns())
    again.save()
    left = [pair for pair in expected if pair[0].pid != GONE_PARENTS[0]]
    assert sorted(next_agent(RULES).table.storm_members()) == left
    assert sorted(next_agent(RULES).table.storm_members()) == left


def test_what_a_storm_writes_grows_with_what_changed_not_with_its_size(next_agent, tmp_path):
    agent = next_agent()
    now = boot_ns()
    counter = StormCounter(Identity(os.getpid(), 1), now, detected=300_000)
    agent.table.restore_storm(counter, ((pid, now // TICK_NS) for pid in range(1000, 301_000)))
    agent.save()
    whole = len(content(tmp_path))
    assert whole < 1_000_000
    agent.table.apply([Gone(Identity(5000, now // TICK_NS), now)], now)
    agent.save()
    assert len(content(tmp_path)) - whole < 2_000
    again = next_agent()
    assert again.table.totals().zombies == 299_999
    [storm] = again.table.storms(boot_ns())
    assert (storm.detected, storm.reaped) == (300_000, 1)


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from test_checkpoint import *
agent = Agent(Path({folder!r}), RULES)
for start in range(1000, 10**6, 10):
    agent.table.apply(dead(*range(start, start + 10), parent=GONE_PARENTS[0]), boot_ns())
    agent.save()
    print(agent.table.totals().zombies, flush=True)
"""


def test_kill_9_leaves_the_counts_of_a_storm_and_its_members_as_one(tmp_path):
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for lines in (3, 40, 200):
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
        ) as agent:
            counts = [int(agent.stdout.readline()) for _ in range(lines)]
            agent.send_signal(signal.SIGKILL)
            counts += [int(line) for line in agent.stdout if line.endswith("\n")]
        said = []
        again = Agent(tmp_path, RULES, say=said.append)
        again.checkpoint.close()
        assert said == []
        [storm] = again.table.storms(boot_ns())
        assert storm.zombies == storm.detected
        assert counts[-1] <= again.table.totals().zombies + 2 <= counts[-1] + 12
        (tmp_path / STATE).unlink()
