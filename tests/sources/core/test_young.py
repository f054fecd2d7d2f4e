"""Zombies below the minimum age: known for the state, and not reported before their time."""

import pytest
from support.real_sources import identities, poll_until, started
from support.records import child
from support.zombies import wait_until, zombies

from tracer.clock import NS, boot_ns
from tracer.model import Child
from tracer.sources.core import wire
from tracer.sources.core.young import YoungZombies

LONG = 600 * NS


@pytest.mark.kernel
def test_they_are_known_with_their_history_and_reported_at_the_minimum_age():
    with started("core", LONG) as source, zombies(5, status=3) as family:
        wanted, seen = identities(family.pids), []

        def known():
            seen.extend(source.poll(boot_ns()))
            found = {one.identity: one for one in source.young(boot_ns())}
            return found if wanted <= found.keys() else None

        found = wait_until(known, what="five young zombies")
        for identity in wanted:
            one = found[identity]
            assert 0 < boot_ns() - one.exit_boot_ns < 60 * NS
            assert one.exit_status == 3 << 8
            assert one.forker.identity.pid == one.exit_parent_pid == family.parent_pid
            assert one.cgroup is not None
        assert not wanted & {one.identity for one in seen}
        source.set_min_age(NS)
        poll_until(source, wanted, seen)
        came = [one.identity for one in seen if isinstance(one, Child)]
        assert all(came.count(identity) == 1 for identity in wanted)
        assert not wanted & {one.identity for one in source.young(boot_ns() + NS)}


def record(exit_ns):
    """Return a struct zombie of a process that died then."""
    return wire.ZOMBIE.pack(
        *(
            exit_ns if n == "exit_ns" else b"" if n.endswith("comm") else 0
            for n in wire.ZombieWire._fields
        )
    )


def test_the_newest_are_kept_and_each_is_unpacked_once():
    unpacked = []

    def make_child(raw):
        unpacked.append(raw.exit_ns)
        return child(exit_boot_ns=raw.exit_ns)

    young = YoungZombies(make_child, limit=3)
    for exit_ns in range(10):
        young.add(record(exit_ns))
    assert [one.exit_boot_ns for one in young.since(0)] == [7, 8, 9]
    assert [one.exit_boot_ns for one in young.since(7)] == [8, 9]
    assert unpacked == [7, 8, 9]
    assert young.since(9) == []
