"""What waits for the agent's own minimum age while the source reports earlier. Pure."""

import pytest
from support.records import NOW, child
from support.sources import Listed

from tracer.agent import age_gate
from tracer.agent.age_gate import AgeGate
from tracer.clock import NS
from tracer.model import Gone
from tracer.table.table import Table

AGE = 10 * NS


@pytest.fixture
def gate():
    made = AgeGate(AGE, lambda _: None)
    made.lowered = True
    return made


def young(pid, age_ns=NS, **changes):
    return child(pid, exit_boot_ns=NOW - age_ns, **changes)


def test_without_followers_everything_passes_as_it_is(gate):
    gate.lowered = False
    observations, snapshot = [young(1)], Listed(NOW, [young(1)])
    assert gate.take(observations, NOW) is observations
    assert gate.filtered(snapshot, Table(AGE), NOW) is snapshot


def test_a_young_child_waits_until_it_is_old_enough(gate):
    dead, old = young(1), young(2, AGE)
    assert gate.take([dead, old], NOW) == [old]
    assert gate.next_due_boot_ns() == NOW + 9 * NS
    assert gate.release(NOW + 9 * NS - 1) == []
    assert gate.release(NOW + 9 * NS) == [dead]
    assert not len(gate)
    assert gate.next_due_boot_ns() is None


def test_of_one_that_is_reaped_meanwhile_the_table_never_learns(gate):
    dead, known = young(1), young(2, AGE)
    gate.take([dead], NOW)
    gone = [Gone(dead.identity, NOW), Gone(known.identity, NOW)]
    assert gate.take(gone, NOW) == gone[1:]
    assert gate.release(NOW + AGE) == []


def test_one_whose_death_was_not_seen_passes_as_without_followers(gate):
    dead = child(1, exit_boot_ns=None, last_ran_boot_ns=NOW - NS)
    assert gate.take([dead], NOW) == [dead]


def test_one_whose_parent_died_meanwhile_comes_with_the_adopter():
    gate = AgeGate(AGE, lambda identity: 7 if identity.pid == 1 else None)
    gate.lowered = True
    gate.take([young(1, parent=5), young(2, parent=5)], NOW)
    assert [dead.parent_pid for dead in gate.release(NOW + AGE)] == [7, 5]


def test_what_waits_when_the_last_follower_leaves_still_comes(gate):
    dead = young(1)
    gate.take([dead], NOW)
    gate.lowered = False
    assert gate.take([], NOW) == []
    assert gate.release(NOW + AGE) == [dead]


def test_more_than_it_has_room_for_go_to_the_table(gate, monkeypatch):
    """None is lost for that, and memory stays bounded: the table has bounds of its own."""
    monkeypatch.setattr(age_gate, "MOST_WAITING", 2)
    dead = [young(pid) for pid in range(1, 5)]
    assert gate.take(dead, NOW) == dead[2:]


def test_a_snapshot_shows_the_table_what_it_would_see_without_followers(gate):
    """Young ones wait, also one that only the snapshot shows: poll() will not return it."""
    waits, new, reaped, old = young(1), young(2), young(3), young(4, AGE)
    unseen = child(5, exit_boot_ns=None, last_ran_boot_ns=None)
    known = young(6)
    table = Table(AGE)
    table.apply([known], NOW)
    gate.take([waits, reaped], NOW)
    snapshot = gate.filtered(Listed(NOW, [waits, new, old, unseen, known]), table, NOW)
    table.reconcile(snapshot, NOW)
    assert {zombie.child for zombie, _ in table.listed()} == {old, unseen, known}
    assert gate.release(NOW + AGE) == [waits, new]


def test_a_snapshot_that_breaks_drops_nothing(gate):
    class Half(Listed):
        def keys(self):
            raise OSError("the task iterator cannot be read")
            yield

    dead = young(1)
    gate.take([dead], NOW)
    with pytest.raises(OSError, match="task iterator"):
        Table(AGE).reconcile(gate.filtered(Half(NOW, []), Table(AGE), NOW), NOW)
    assert gate.release(NOW + AGE) == [dead]
