"""Agents that are killed between any two steps: every line is in the log, twice only if marked."""

import random
from collections import Counter, deque
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.records import child

from tracer.clock import TICK_NS, boot_ns
from tracer.model import Aged, Attribution, Detected, Gone, Identity, ListSnapshot, Reaped, Record
from tracer.model.event import Event, EventName
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process
from tracer.render.event_id import event_id
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.storm import StormRules
from tracer.table.table import Table

BOOT = "0f5b1d2c-boot"
PROC = ProcFs(Path("/proc"))
NO_STORMS = StormRules(burst=10_000)
STEPS = 300


class Reporter:
    """Restores nothing: a record has what the transition has."""

    def restore(self, zombie, now_boot_ns):
        pass

    def restore_storm(self, parent, comm, cgroup, cause):
        pass

    def storm_facts(self, parent):
        return None


class Source:
    def young(self, now_boot_ns):
        return ()


class Agent:
    """An agent whose every step can be its last: detect, emit, note, write, confirm, save.

    Args:
        folder: of its state.
        world: the zombies that are there.
        log: takes its lines.
        fails: returns whether the descriptor of the log fails now.
    """

    def __init__(self, folder, world, log, fails):
        self._world, self._log, self._fails = world, log, fails
        self.table = Table(0, NO_STORMS, partial(living_process, PROC))
        self.checkpoint = Checkpoint(StateStore(folder, BOOT), PROC, Source(), writes=True)
        self.checkpoint.open()
        self._queue = deque()
        self._steps = deque()
        self._report(self.checkpoint.restore(self.table, Reporter(), boot_ns()))
        snapshot = ListSnapshot(boot_ns(), list(world.values()))
        self._report(self.table.reconcile(snapshot, boot_ns()))
        self._report(self.table.tick(boot_ns()))

    def observe(self, observation):
        self._report(self.table.apply([observation], boot_ns()))

    def _report(self, transitions):
        for transition in transitions:
            match transition:
                case Detected(zombie):
                    self._emit(EventName.ZOMBIE_DETECTED, zombie, boot_ns())
                case Aged(zombie, step_ns):
                    self._emit(EventName.ZOMBIE_AGED, zombie, boot_ns(), step_ns)
                case Reaped(zombie, gone_boot_ns, _):
                    self._emit(EventName.ZOMBIE_REAPED, zombie, gone_boot_ns)

    def _emit(self, name, zombie, at_boot_ns, step_ns=None):
        record = Record(zombie, 0, None, None, Attribution(), None)
        event = Event(name, at_boot_ns, record=record, step_ns=step_ns)
        self._queue.append(self.checkpoint.lines.emit(event))

    def step(self):
        """Do the next thing that the sink's thread would do."""
        if not self._steps and self._queue:
            event, lines = self._queue.popleft(), self.checkpoint.lines
            fails = self._fails()
            self._steps.append(lambda: lines.writing(event))
            if not fails:
                self._steps += [lambda: self._log.append(event), lambda: lines.written(event)]
        if self._steps:
            self._steps.popleft()()
            return True
        return False

    def save(self):
        self.checkpoint.save(self.table, boot_ns())

    def die(self):
        """Release the lock, as the kernel does for a killed process; write nothing."""
        self.checkpoint._store.close()


def born(pid):
    """Return a child that died now."""
    now = boot_ns()
    return replace(child(pid, 1_296_034, now_boot_ns=now), identity=Identity(pid, now // TICK_NS))


def run(folder, seed, *, failing=0.0):
    """Let agents be killed at random; return their lines, all zombies, and those that were reaped."""
    chance = random.Random(seed)
    world, log, zombies, reaped = {}, [], {}, set()
    fails = lambda: chance.random() < failing  # noqa: E731
    agent = Agent(folder, world, log, fails)
    for number in range(STEPS):
        match chance.choices(("born", "reap", "step", "save", "kill"), (4, 2, 12, 1, 2))[0]:
            case "born":
                one = born(2000 + number)
                world[one.identity] = zombies[one.identity] = one
                agent.observe(one)
            case "reap":
                out = {line.record.zombie.child.identity for line in log} & world.keys()
                if out:
                    gone = chance.choice(sorted(out))
                    del world[gone]
                    reaped.add(gone)
                    agent.observe(Gone(gone, boot_ns()))
            case "step":
                agent.step()
            case "save":
                agent.save()
            case "kill":
                agent.die()
                agent = Agent(folder, world, log, fails)
    agent.die()
    agent = Agent(folder, world, log, lambda: False)
    while agent.step():
        pass
    agent.die()
    return log, zombies, reaped


def by_zombie(log, name):
    return Counter(line.record.zombie.child.identity for line in log if line.name is name)


@pytest.mark.parametrize("seed", range(40))
def test_no_line_is_missing_and_none_comes_twice_unmarked(tmp_path, seed):
    log, zombies, reaped = run(tmp_path, seed)
    assert by_zombie(log, EventName.ZOMBIE_DETECTED).keys() == zombies.keys()
    assert by_zombie(log, EventName.ZOMBIE_REAPED).keys() == reaped
    seen = set()
    for line in log:
        name = event_id(line, boot_id=BOOT, node_name="n1")
        assert name not in seen or line.repeated
        seen.add(name)
    assert len(log) >= len(seen)


@pytest.mark.parametrize("seed", range(20))
def test_what_a_failing_descriptor_loses_comes_after_the_next_restart(tmp_path, seed):
    log, zombies, reaped = run(tmp_path, seed, failing=0.2)
    assert by_zombie(log, EventName.ZOMBIE_DETECTED).keys() == zombies.keys()
    assert by_zombie(log, EventName.ZOMBIE_REAPED).keys() == reaped
