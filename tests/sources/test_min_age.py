"""The minimum age can change while a source runs: nothing is lost, nothing comes twice."""

import time

import pytest
from support.real_sources import identities, poll_until, started
from support.zombies import zombies

from tracer.clock import NS, boot_ns
from tracer.model import Gone, Identity

pytestmark = pytest.mark.kernel

LONG = 600 * NS


def poll_for(source, seconds, seen):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seen.extend(source.poll(boot_ns()))
        time.sleep(0.02)


@pytest.mark.parametrize("name", ["core", "bcc"])
def test_a_lower_age_brings_out_at_once_what_has_passed_it(name):
    """Also what waits behind the older age in the kernel's queue."""
    with started(name, LONG) as source, zombies(30) as family:
        seen, dead = [], identities(family.pids)
        poll_for(source, 1.2, seen)
        assert dead.isdisjoint(one.identity for one in seen)
        source.set_min_age(NS)
        assert source.next_poll_boot_ns(boot_ns()) <= boot_ns()
        seen.extend(source.poll(boot_ns()))
        assert dead <= {one.identity for one in seen}
        began = boot_ns()
        family.spawn(5)
        younger = identities(family.pids[30:])
        poll_until(source, younger, seen)
        assert boot_ns() >= began + NS
        source.snapshot()
        poll_for(source, 0.5, seen)
        times = [one.identity for one in seen if one.identity in dead | younger]
        assert len(times) == 35, "each exactly once"


@pytest.mark.parametrize("name", ["core", "bcc"])
def test_a_higher_age_holds_back_what_is_younger_and_forgets_nothing(name):
    """What was returned stays in the snapshots, or it would pass for reaped."""
    with started(name, NS) as source, zombies(10) as family:
        seen, reported = [], identities(family.pids)
        poll_until(source, reported, seen)
        source.set_min_age(LONG)
        family.spawn(10)
        young = identities(family.pids[10:])
        poll_for(source, 1.5, seen)
        assert young.isdisjoint(one.identity for one in seen)
        found = {Identity(*key[:2]) for key in source.snapshot().keys()}  # noqa: SIM118
        assert reported <= found
        family.reap(10)
        poll_until(source, reported, seen, Gone)
        source.set_min_age(NS)
        poll_until(source, young, seen)
        counts = [one.identity for one in seen if one.identity in reported | young]
        assert len(counts) == 30, "ten detected and reaped, ten detected"


def test_proc_scans_as_often_as_the_age_needs():
    with started("proc", LONG) as source, zombies(1) as family:
        source.poll(boot_ns())
        source.set_min_age(NS)
        family.spawn(1)
        seen = source.poll(boot_ns())
        assert identities(family.pids[1:]) <= {one.identity for one in seen}
        assert source.next_poll_boot_ns(boot_ns()) < boot_ns() + NS
