"""The engine with real sources that break while it runs, and with storms that end soon."""

import errno
import os
import signal
from functools import partial
from pathlib import Path

import pytest
from support.engines import MIN_AGE, Recorder, engine
from support.records import child
from support.scripted import script
from support.sources import ScriptedSource
from support.zombies import wait_until, zombies

from tracer.agent.backoff import Pace
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError
from tracer.model import StormPhase
from tracer.model.event import EventName
from tracer.procfs.fs import ProcFs
from tracer.render.document import event_document
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.storm import StormRules

pytestmark = pytest.mark.kernel


class Breaking:
    """The core source, until a test sets what shall break; breaks once.

    Attributes:
        breaks: None, `poll` (the next one), `snapshot` (in the middle of the next one) or
            `after` (the poll that follows the next snapshot).
    """

    def __init__(self, breaks=None):
        self.source = CoreSource(min_age_ns=MIN_AGE)
        self.breaks = breaks

    def __getattr__(self, name):
        return getattr(self.source, name)

    def poll(self, now_boot_ns):
        if self.breaks == "poll":
            raise PermanentError("the program is gone")
        return self.source.poll(now_boot_ns)

    def snapshot(self):
        taken = self.source.snapshot()
        if self.breaks == "snapshot":
            return Half(taken)
        if self.breaks == "after":
            self.breaks = "poll"
        return taken


class Half:
    """A snapshot that ends in an error after 600 zombies."""

    def __init__(self, whole):
        self.taken_boot_ns, self.child, self._whole = whole.taken_boot_ns, whole.child, whole

    def keys(self):
        for number, key in enumerate(self._whole.keys()):
            if number == 600:
                raise PermanentError("the task iterator cannot be read")
            yield key


class Raising(Recorder):
    """A sink that can do nothing right."""

    def emit(self, event):
        raise ValueError("broken sink")


def test_a_source_that_breaks_is_replaced_and_nothing_is_lost():
    """Known before, dead meanwhile, reaped meanwhile: each is reported once."""
    source = Breaking()
    with engine(source) as running, zombies(5) as known, zombies(5) as kept:
        heard = running.heard
        heard.detected(known.pids + kept.pids)
        source.breaks = "poll"
        between = kept.spawn(3)
        gone = known.reap()
        [changed] = wait_until(lambda: heard.of(EventName.SOURCE_CHANGED))
        assert changed.fields["source"]["name"] == "proc"
        assert changed.fields["source"]["previous"] == "core"
        assert "the program is gone" in changed.fields["source"]["reason"]
        after = kept.spawn(2)
        heard.detected(between + after)
        heard.reaped(gone)
        [later] = kept.spawn(1)
        heard.detected([later])
        everybody = [*gone, *kept.pids]
        assert heard.count(EventName.ZOMBIE_DETECTED, everybody) == len(everybody)
        assert heard.count(EventName.ZOMBIE_REAPED, everybody) == len(gone)


@pytest.mark.parametrize("breaks", ["snapshot", "after"])
def test_a_snapshot_that_breaks_loses_nothing(breaks):
    """What it brought before it broke is reported, and none of that again."""
    with zombies(700) as family, engine(Breaking(breaks)) as running:
        heard = running.heard
        heard.detected(family.pids)
        wait_until(lambda: heard.of(EventName.SOURCE_CHANGED), what="the change")
        heard.detected(family.spawn(1))
        assert heard.count(EventName.ZOMBIE_DETECTED, family.pids) == 701
        assert heard.count(EventName.ZOMBIE_REAPED, family.pids) == 0


def test_hooks_that_no_longer_fire_are_noticed():
    """They were detached: a snapshot shows an exit that they did not see."""
    source = CoreSource(min_age_ns=MIN_AGE)
    with engine(source) as running, zombies(2) as family:
        heard = running.heard
        heard.detected(family.pids)
        for link in source._links[1:]:
            link.destroy()

        def changed():
            # The kernel may detach a little later: until then exits are still seen.
            family.spawn(1)
            old_enough = boot_ns() + MIN_AGE
            wait_until(lambda: boot_ns() > old_enough)
            running.take_snapshot()
            return heard.of(EventName.SOURCE_CHANGED)

        [changed] = wait_until(changed, what="the change")
        assert changed.fields["source"]["name"] == "proc"
        family.spawn(1)
        heard.detected(family.pids)
        assert heard.count(EventName.ZOMBIE_DETECTED, family.pids) == len(family.pids)


def test_hooks_that_are_gone_are_noticed_also_after_a_loss():
    """D8: one loss excused every unseen death after it, for the agent's life."""
    source = CoreSource(min_age_ns=MIN_AGE, map_entries=16)
    with engine(source) as running, zombies(40) as family:
        heard = running.heard
        heard.detected(family.pids)
        wait_until(lambda: source.losses().map_full, what="an overflow of the map")
        wait_until(lambda: heard.of(EventName.SOURCE_CHANGED), what="the report of the loss")
        family.reap()
        for link in source._links[1:]:
            link.destroy()

        def changed():
            family.spawn(1)
            old_enough = boot_ns() + MIN_AGE
            wait_until(lambda: boot_ns() > old_enough)
            running.take_snapshot()
            return [
                e
                for e in heard.of(EventName.SOURCE_CHANGED)
                if e.fields["source"]["name"] != "core"
            ]

        [changed, *_] = wait_until(changed, what="the change")
        assert "its hooks no longer fire" in changed.fields["source"]["reason"]


def test_core_comes_back_when_it_works_again():
    """What was reported is not reported again, and what dies meanwhile is not lost."""
    sources = []
    refused = []

    def core():
        if refused:
            raise PermanentError("not yet")
        sources.append(Breaking())
        return sources[-1]

    makers = {"core": core, "proc": lambda: ProcSource(ProcFs(Path("/proc")), MIN_AGE)}
    pace = Pace(return_first_ns=NS // 5, return_longest_ns=NS // 5)
    with engine(None, makers=makers, pace=pace) as running, zombies(3) as family:
        heard = running.heard
        heard.detected(family.pids)
        refused.append(True)
        sources[0].breaks = "poll"
        [fallback] = wait_until(lambda: heard.of(EventName.SOURCE_CHANGED), what="the fallback")
        assert (fallback.fields["source"]["name"], fallback.severity) == ("proc", "error")
        heard.detected(family.spawn(3))
        refused.clear()
        changes = wait_until(lambda: heard.of(EventName.SOURCE_CHANGED)[1:], what="the return")
        between = family.spawn(3)
        assert (changes[0].fields["source"]["name"], changes[0].severity) == ("core", "info")
        assert changes[0].fields["source"]["previous"] == "proc"
        heard.detected(between)
        wait_until(lambda: running.board.current().source == "core")
        gone = family.reap(9)
        heard.reaped(gone)
        everybody = [*gone, *family.pids]
        assert heard.count(EventName.ZOMBIE_DETECTED, everybody) == len(everybody) == 9
        assert heard.count(EventName.ZOMBIE_REAPED, everybody) == 9


class Failing(ProcFs):
    """The real /proc, except while reads fail.

    Attributes:
        number: errno of every read; None while they work.
    """

    def __init__(self):
        super().__init__(Path("/proc"))
        self.number = None

    def _fail(self, name):
        if self.number is not None:
            raise OSError(self.number, os.strerror(self.number), name)

    def read(self, name):
        self._fail(name)
        return super().read(name)

    def pids(self):
        self._fail("/proc")
        return super().pids()


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EIO, errno.EMFILE, errno.EINTR])
@pytest.mark.parametrize("name", ["core", "proc"])
def test_reads_of_proc_that_fail_for_a_while_end_nobody(name, number):
    """D1: it goes on, says so once, and reports what happened meanwhile."""
    proc = Failing()
    makers = {name: lambda: Breaking() if name == "core" else ProcSource(proc, MIN_AGE)}
    with (
        engine(None, source=name, makers=makers, proc=proc) as running,
        zombies(3) as family,
    ):
        heard = running.heard
        heard.detected(family.pids)
        proc.number = number
        gone = family.reap(1)
        meanwhile = family.spawn(2)
        [trouble] = wait_until(lambda: heard.of(EventName.SOURCE_CHANGED), what="the report of it")
        assert trouble.severity == "error"
        assert os.strerror(number) in trouble.fields["source"]["reason"]
        wait_until(lambda: running.board.current().not_ready, what="being unready")
        proc.number = None
        heard.detected(meanwhile)
        heard.reaped(gone)
        [_, over] = wait_until(
            lambda: heard.of(EventName.SOURCE_CHANGED)[1:] and heard.of(EventName.SOURCE_CHANGED)
        )
        assert over.severity == "info"
        wait_until(lambda: running.board.current().not_ready is None, what="being ready")
        everybody = [*gone, *family.pids]
        assert heard.count(EventName.ZOMBIE_DETECTED, everybody) == len(everybody) == 5
        assert running.error is None


def test_what_comes_during_a_slow_snapshot_is_reported_with_its_age():
    """Not with the time at which the snapshot began: that may be before the exit."""
    slow = 2 * MIN_AGE

    def observe(now):
        # Once a snapshot has been taken: a child that has just reached the minimum age.
        return [child(2_000_000_001, exit_boot_ns=now - MIN_AGE)] if source.snapshots else []

    source = ScriptedSource("core", clock=boot_ns, observe=observe, snapshot_ns=slow)
    with engine(None, makers={"core": lambda: source}) as running:
        running.heard.detected([2_000_000_001])
        [event] = running.heard.of(EventName.ZOMBIE_DETECTED)
        assert event.record.age_ns >= MIN_AGE


def test_a_source_that_cannot_start_yet_is_awaited():
    """With no descriptors left at the start there is nothing to see with, until there are."""
    proc = Failing()
    proc.number = errno.ENFILE
    makers = {"proc": lambda: ProcSource(proc, MIN_AGE)}
    with engine(None, makers=makers, proc=proc) as running, zombies(1) as family:
        heard = running.heard
        [waiting] = wait_until(lambda: heard.of(EventName.SOURCE_CHANGED), what="the report of it")
        assert waiting.fields["source"]["name"] is None
        assert "Too many open files" in wait_until(lambda: running.board.current().not_ready)
        assert "trying again" in waiting.fields["source"]["reason"]
        assert heard.of(EventName.AGENT_STARTED) == []
        proc.number = None
        heard.detected(family.pids)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bug"), "internal error (ValueError at sources.py:"),
        (PermanentError("it is gone"), "core failed: it is gone"),
    ],
)
def test_whatever_ends_it_the_log_says_why_and_the_state_is_saved(tmp_path, error, reason):
    """D1: `agent_stopped` was missing, and the next agent reported everything again."""
    source = ScriptedSource("core", clock=boot_ns)
    with zombies(1) as family:
        dead = ProcSource(ProcFs(Path("/proc")), 0).snapshot()
        source.dead = [dead.child(n) for n, key in enumerate(dead.keys()) if key[0] in family.pids]
        proc = ProcFs(Path("/proc"))
        store = StateStore(tmp_path, "boot")
        saving = partial(Checkpoint, store, proc, writes=True)
        with engine(
            None, source="core", makers={"core": lambda: source}, checkpoint=saving
        ) as running:
            running.heard.written = running.checkpoint.lines.written
            running.heard.detected(family.pids)
            source.poll_error = error
            wait_until(lambda: running.error, what="the end")
        [stopped] = running.heard.of(EventName.AGENT_STOPPED)
        assert stopped.severity == "error"
        assert stopped.fields["source"]["reason"].startswith(reason)
        assert str(running.error).startswith(reason)
        assert not source.open
        saved = StateStore(tmp_path, "boot").load().zombies.values()
        assert [zombie.child.identity.pid for zombie in saved] == family.pids
        assert all(zombie.detected_boot_ns is not None for zombie in saved)


def test_a_named_source_is_never_replaced():
    source = Breaking()
    with engine(source, source="core") as running:
        source.breaks = "poll"
        wait_until(lambda: running.error, what="the end")
        assert "the program is gone" in str(running.error)
        assert running.heard.closed


def test_a_broken_sink_keeps_nothing_from_the_others():
    with engine(Breaking(), sinks=[Raising()]) as running, zombies(2) as family:
        running.heard.detected(family.pids)


def test_a_storm_from_its_begin_to_its_last_zombie():
    rules = StormRules(burst=20, refill_per_second=0.001, interval_ns=NS, calm_per_second=5)
    with engine(Breaking(), rules=rules) as running, zombies(0) as family:
        family.spawn(500)
        heard = running.heard
        storms = wait_until(lambda: counted(heard.storms(family.parent_pid), 480), what="a storm")
        assert storms[0].phase is StormPhase.BEGAN
        assert heard.count(EventName.ZOMBIE_DETECTED, family.pids) == 20
        assert storms[-1].zombies == 500
        assert len(storms[-1].samples) == 5
        family.reap()
        [*_, last] = wait_until(lambda: ended(heard.storms(family.parent_pid)), what="its end")
        assert last.phase is StormPhase.DRAINED
        assert (last.zombies, last.detected, last.reaped) == (0, 480, 480)
        running.end()
        assert running.heard.events[-1].name is EventName.AGENT_STOPPED


LEAVES_ZOMBIES_TO_A_SUBREAPER = """
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
read, write = os.pipe()
def leak():
    with open("/proc/self/comm", "w") as comm:
        comm.write("leaks")
    for _ in range(300):
        dead(born())
    os.write(write, b"x")
    time.sleep(600)
parent = born(leak)
os.read(read, 1)
say(parent=parent)
"""


def test_no_line_of_a_storm_mixes_a_dead_parent_with_the_adopter():
    """The parent is killed under a subreaper that does not reap: two storms, two processes."""
    rules = StormRules(burst=20, refill_per_second=0.001, interval_ns=NS, calm_per_second=0)
    with engine(Breaking(), rules=rules) as running, script(LEAVES_ZOMBIES_TO_A_SUBREAPER) as leaks:
        heard = running.heard
        wait_until(lambda: counted(heard.storms(leaks.parent), 280), what="a storm")
        os.kill(leaks.parent, signal.SIGKILL)
        wait_until(lambda: ended(heard.storms(leaks.parent)), what="the end of the parent's storm")
        wait_until(lambda: heard.storms(leaks.pid), what="a storm of the adopter")
        events = heard.of(EventName.ZOMBIE_STORM)
        # Before the adopter ends with this test, which the last report of the engine shows.
        drained, adopter = heard.storms(leaks.parent)[-1], heard.storms(leaks.pid)[-1]
    assert drained.parent_gone
    assert drained.parent.comm == "leaks"
    assert (drained.storm.zombies, drained.storm.adopted) == (0, 280)
    assert not adopter.parent_gone
    assert adopter.storm.zombies >= 300
    assert f"(pid {leaks.parent})" not in adopter.cause.evidence[0]
    pids = {leaks.parent, leaks.pid}
    for event in events:
        context = event.storm
        if context.storm.parent.pid not in pids:
            continue
        document = event_document(event, node_name="n", to_wall_ns=0, version="0")
        assert context.parent.identity == context.storm.parent
        assert document["parent"]["pid"] == context.storm.parent.pid
        assert (document["parent"]["state"] is None) is context.parent_gone
        assert (context.parent.comm == "leaks") is (context.storm.parent.pid == leaks.parent)


def counted(reported, detected):
    """Return the storm's reports once one has that count."""
    storms = [context.storm for context in reported]
    return storms if any(storm.detected == detected for storm in storms) else None


def ended(reported):
    """Return the storm's reports once it has drained."""
    storms = [context.storm for context in reported]
    return storms if any(storm.phase is StormPhase.DRAINED for storm in storms) else None
