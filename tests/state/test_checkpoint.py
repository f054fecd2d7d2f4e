"""What a killed agent leaves for the next one: nothing lost, nothing told twice."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.records import child

from tracer.clock import NS, boot_ns
from tracer.model import Attribution, Detected, Identity, Record, StormPhase
from tracer.model.event import Event, EventName
from tracer.procfs.fs import ProcFs
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.storm import StormRules
from tracer.table.table import Table

BOOT = "0f5b1d2c-boot"
PROC = ProcFs(Path("/proc"))
RULES = StormRules(burst=2, refill_per_second=0.001)


class Nobody:
    def restore(self, zombie, now_boot_ns):
        pass


@pytest.fixture
def remember(tmp_path):
    """Make the memory of an agent; the one before it is dead."""
    memories = []

    def next_agent():
        for memory in memories:
            memory.close()
        memories.append(Checkpoint(StateStore(tmp_path, BOOT), PROC, writes=True))
        memories[-1].open()
        return memories[-1]

    yield next_agent
    memories[-1].close()


def line(name, zombie):
    return Event(name, boot_ns(), record=Record(zombie, NS, None, None, Attribution(), None))


def recalled(memory, rules=None):
    table = Table(0, rules)
    memory.restore(table, Nobody(), boot_ns())
    return table


def test_a_line_that_was_not_written_is_told_by_the_next_agent(remember):
    """It waited for its pod's name, or for a slow reader, when the agent was killed."""
    memory, table = remember(), Table(0)
    written, waiting = table.apply([child(1001), child(1002)], boot_ns())
    memory.written(line(EventName.ZOMBIE_DETECTED, written.zombie))
    memory.save(table, boot_ns())
    told = recalled(remember()).tick(boot_ns())
    assert [t.zombie.child.identity for t in told if isinstance(t, Detected)] == [
        waiting.zombie.child.identity
    ]


def test_what_is_written_while_the_state_is_saved_is_not_told_again(remember):
    memory, table = remember(), Table(0)
    [late] = table.apply([child(1001)], boot_ns())
    memory.save(table, boot_ns())
    memory.written(line(EventName.ZOMBIE_DETECTED, late.zombie))
    assert not recalled(remember()).tick(boot_ns())


@pytest.mark.parametrize("alive", [True, False])
def test_a_storm_goes_on_while_its_parent_lives(remember, alive):
    """Another process that has the parent's pid by now starts with a clean slate."""
    memory, table = remember(), Table(0, RULES)
    parent = os.getpid()
    table.apply([child(pid, parent) for pid in range(1001, 1011)], boot_ns())
    memory.save(table, boot_ns())
    again = remember()
    if not alive:
        state = again._store.load()
        storms = tuple(replace(s, parent=Identity(parent, 1)) for s in state.storms)
        again._store.save(replace(state, storms=storms))
    table = recalled(again, RULES)
    assert table.totals().zombies == 8
    out = table.apply([child(pid, parent) for pid in (2001, 2002)], boot_ns())
    assert len([t for t in out if isinstance(t, Detected)]) == (0 if alive else 2)
    [storm] = table.storms(boot_ns())
    assert storm.phase is (StormPhase.ONGOING if alive else StormPhase.ENDED)
