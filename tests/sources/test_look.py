"""A look shows every zombie, from any thread, and changes nothing of what is reported."""

import os
import threading

import pytest
from support.real_sources import identities, poll_until, started
from support.zombies import wait_until, zombies

from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError, TemporaryError
from tracer.model import Child, Gone, Identity

pytestmark = pytest.mark.kernel

SOURCES = ["core", "bcc", "proc"]
LONG = 600 * NS


def looked(source):
    """Return the children of a look by their identity."""
    view, found = source.look(), {}
    for index, (pid, start_ticks, *_) in enumerate(view.keys()):
        found[Identity(pid, start_ticks)] = view.child(index)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_a_look_shows_zombies_of_any_age_with_their_history(name):
    with zombies(3) as older, started(name, LONG) as source, zombies(5) as family:
        found = looked(source)
        assert identities(older.pids) <= found.keys()
        for identity in identities(family.pids):
            child = found[identity]
            assert child.parent_pid == family.parent_pid
            if name != "proc":
                assert 0 <= boot_ns() - child.exit_boot_ns < 60 * NS
                assert child.forker.identity.pid == family.parent_pid
            if name == "core":
                assert child.exit_parent_pid == family.parent_pid
                assert child.cgroup is not None


@pytest.mark.parametrize("name", SOURCES)
def test_what_was_looked_at_is_still_reported_once(name):
    """Nothing of it is marked as known, and nothing of it is forgotten."""
    with zombies(3) as older, started(name, NS) as source, zombies(5) as family:
        both = identities([*older.pids, *family.pids])
        assert both <= looked(source).keys()
        snapshot = {Identity(*key[:2]) for key in source.snapshot().keys()}  # noqa: SIM118
        assert identities(older.pids) <= snapshot
        seen = []
        if name != "proc":  # its snapshot counts as a report
            poll_until(source, identities(family.pids), seen)
        looked(source)
        gone = both
        family.reap()
        older.reap()
        poll_until(source, gone, seen, Gone)
        counts = [type(one) for one in seen if one.identity in both]
        assert counts.count(Gone) == 8
        assert counts.count(Child) == (0 if name == "proc" else 5)


@pytest.mark.parametrize("name", SOURCES)
def test_looking_in_a_loop_changes_no_detection(name):
    """In another thread, while zombies are made and reaped; each comes and goes exactly once."""
    with started(name, NS // 5) as source, zombies(1) as family:
        stop, failures, looks = threading.Event(), [], []

        def keep_looking():
            try:
                while not stop.is_set():
                    for identity, child in looked(source).items():
                        source.waits(Identity(child.parent_pid, 0))
                        source.forker(identity)
                    looks.append(boot_ns())
            except Exception as error:  # shown by the test's own thread
                failures.append(error)

        threads = [threading.Thread(target=keep_looking) for _ in range(2)]
        for thread in threads:
            thread.start()
        seen, dead = [], set()
        try:
            for _ in range(10):
                before = len(family.pids)
                family.spawn(40)
                fresh = identities(family.pids[before:])
                dead |= fresh
                poll_until(source, fresh, seen)
                family.reap(40)
                # The oldest are reaped first: one is always left.
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        family.reap()
        poll_until(source, dead, seen, Gone)
        assert failures == []
        assert len(looks) > 10
        for kind in (Child, Gone):
            times = [o.identity for o in seen if isinstance(o, kind) and o.identity in dead]
            assert sorted(times) == sorted(dead)


@pytest.mark.parametrize("name", ["core", "bcc"])
def test_a_source_that_is_closed_under_a_look_raises(name):
    """Never a crash, and never another file's contents: descriptors are given out again."""
    stop, outcomes = threading.Event(), []
    with started(name, NS) as source, zombies(20):

        def keep_looking():
            while not stop.is_set():
                try:
                    for identity in looked(source):
                        source.waits(identity)
                        source.forker(identity)
                    outcomes.append(None)
                except (TemporaryError, PermanentError) as error:
                    outcomes.append(error)
                    return

        thread = threading.Thread(target=keep_looking)
        thread.start()
        wait_until(lambda: outcomes, what="the first look")
        source.close()
        held = [os.open("/dev/zero", os.O_RDONLY) for _ in range(64)]
        thread.join(20)
        for descriptor in held:
            os.close(descriptor)
        assert not thread.is_alive()
        assert isinstance(outcomes[-1], Exception)
