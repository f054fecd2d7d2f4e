"""What a command knows about a zombie: what is seen now, filled in from what the agent saved."""

from dataclasses import fields, replace

import pytest

from tracer.commands.saved_facts import SavedFacts
from tracer.model import Cgroup, CgroupOrigin, Child, Forker, Identity, OriginKind, merge

IDENTITY = Identity(4711, 900)
LIVE = Child(identity=IDENTITY, parent_pid=1, start_boot_ns=9_000, last_ran_boot_ns=40_000)
SAVED = Child(
    identity=IDENTITY,
    parent_pid=4700,
    start_boot_ns=9_000,
    exit_boot_ns=41_000,
    exit_status=9,
    vpid=7,
    pid_namespace=4026532000,
    uid=1234,
    comm="worker",
    exit_parent_pid=4700,
    forker=Forker(Identity(4690, 800), "sh"),
    origin=OriginKind.SETNS,
    origin_pid=4680,
    cgroup=Cgroup("/saved", CgroupOrigin.KERNEL),
    tracer_pid=55,
)


def test_saved_facts_fill_what_the_live_source_does_not_know():
    merged = merge(LIVE, SAVED)
    assert (merged.exit_boot_ns, merged.exit_status, merged.exit_parent_pid) == (41_000, 9, 4700)
    assert (merged.forker, merged.origin, merged.origin_pid) == (
        SAVED.forker,
        SAVED.origin,
        SAVED.origin_pid,
    )
    assert merged.dead_since_boot_ns == 41_000
    assert (merged.comm, merged.uid, merged.cgroup) == ("worker", 1234, SAVED.cgroup)


def test_a_live_fact_wins_over_the_saved_one():
    """Also over a saved None: it must not hide what is seen now."""
    live = replace(
        LIVE,
        exit_boot_ns=42_000,
        exit_parent_pid=1,
        forker=Forker(Identity(1, 1), "init"),
        origin=OriginKind.INIT,
        cgroup=Cgroup("/live", CgroupOrigin.ZOMBIE),
    )
    for saved in (SAVED, replace(LIVE, last_ran_boot_ns=None)):
        merged = merge(live, saved)
        for name in ("exit_boot_ns", "exit_parent_pid", "forker", "origin", "cgroup"):
            assert getattr(merged, name) == getattr(live, name)


def test_the_parent_and_the_tracer_are_those_of_now():
    """The agent may have saved them before the parent died, or the tracer let go."""
    merged = merge(LIVE, SAVED)
    assert (merged.parent_pid, merged.tracer_pid) == (1, None)


def test_the_origin_and_its_pid_are_of_one_event():
    live = replace(LIVE, origin=OriginKind.INIT, origin_pid=None)
    merged = merge(live, SAVED)
    assert (merged.origin, merged.origin_pid) == (OriginKind.INIT, None)


@pytest.mark.parametrize("other", [Identity(4711, 901), Identity(4712, 900)])
def test_facts_of_another_process_are_never_merged(other):
    """The pid was reused after the agent saved it."""
    assert merge(LIVE, replace(SAVED, identity=other)) == LIVE
    saved = SavedFacts([replace(SAVED, identity=other)])
    assert saved.merged(LIVE) == LIVE
    assert saved.dead_since(IDENTITY, 40_000) == 40_000


def test_dead_since_agrees_with_the_merged_child():
    for saved in (SAVED, replace(SAVED, exit_boot_ns=None)):
        facts = SavedFacts([saved])
        seen = LIVE.dead_since_boot_ns
        assert facts.dead_since(IDENTITY, seen) == facts.merged(LIVE).dead_since_boot_ns


def test_nothing_saved_changes_nothing():
    facts = SavedFacts()
    assert not facts
    assert facts.merged(LIVE) == LIVE


def test_every_fact_is_considered():
    """A field that is added to Child is either filled or listed here as one of now."""
    of_now = {"identity", "parent_pid", "start_boot_ns", "last_ran_boot_ns", "tracer_pid"}
    blank = {field.name: None for field in fields(Child) if field.name not in of_now}
    merged = merge(replace(SAVED, **blank), SAVED)
    assert {name: getattr(merged, name) for name in blank} == {
        name: getattr(SAVED, name) for name in blank
    }
