"""The engine with real sources that break while it runs, and with storms that end soon."""

import contextlib
import os
import signal
import threading
from functools import partial
from pathlib import Path

import pytest
from support.scripted import script
from support.zombies import wait_until, zombies

from tracer.agent import build
from tracer.agent.engine import Engine, Settings
from tracer.agent.reporter import Reporter
from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError
from tracer.kubernetes.node_logs import NodeLogs
from tracer.model import StormPhase
from tracer.model.event import EventName
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process, read_cgroup
from tracer.render.document import event_document
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.storm import StormRules
from tracer.table.table import Table

pytestmark = pytest.mark.kernel

MIN_AGE = NS // 5
NO_STORMS = StormRules(burst=100_000)


class Breaking:
    """The core source, until it is told what shall break; breaks once.

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


class Heard:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.events = []
        self.closed = False

    def emit(self, event):
        self.events.append(event)

    def dropped(self):
        return 0

    def close(self, timeout_seconds):
        self.closed = True

    def told(self, name):
        """Return the pids of whom that was told."""
        return [e.record.zombie.child.identity.pid for e in list(self.events) if e.name is name]

    def count(self, name, pids):
        """Return how often that was told of these."""
        wanted = set(pids)
        return sum(pid in wanted for pid in self.told(name))

    def detected(self, pids):
        wait_until(
            lambda: set(self.told(EventName.ZOMBIE_DETECTED)) >= set(pids), what="detections"
        )

    def reaped(self, pids):
        wait_until(lambda: set(self.told(EventName.ZOMBIE_REAPED)) >= set(pids), what="reapings")

    def of(self, name):
        return [event for event in list(self.events) if event.name is name]

    def storms(self, parent_pid):
        told = self.of(EventName.ZOMBIE_STORM)
        return [event.storm for event in told if event.storm.storm.parent.pid == parent_pid]


class Raising(Heard):
    """A sink that can do nothing right."""

    def emit(self, event):
        raise ValueError("broken sink")


class Running:
    """An engine in a thread of its own."""

    def __init__(self, first, *, source="auto", rules=NO_STORMS, sinks=()):
        proc = ProcFs(Path("/proc"))
        self.heard = Heard()
        self.error = None
        table = Table(MIN_AGE, rules, partial(living_process, proc))
        investigator = build.CurrentInvestigator(proc)
        reporter = Reporter(
            proc=proc,
            attributor=Attributor(partial(read_cgroup, proc), None, NodeLogs(Path("/"))),
            filters=Filters(),
            investigator=investigator,
            sink=self,
            siblings=table.siblings,
        )
        self.engine = Engine(
            Settings(source=source, node_name="n"),
            makers={"core": lambda: first, "proc": lambda: ProcSource(proc, MIN_AGE)},
            table=table,
            reporter=reporter,
            use_source=investigator.use,
            sinks=[*sinks, self.heard],
            memory=Checkpoint(StateStore(None, ""), proc, writes=False),
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def emit(self, event):
        self.engine.emit_to_sinks(event)

    def _run(self):
        try:
            self.engine.run()
        except PermanentError as error:
            self.error = error

    def end(self):
        self.engine.stop("the test is over")
        self.thread.join(10)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def engine(first, **options):
    running = Running(first, **options)
    try:
        wait_until(lambda: running.heard.events or running.error, what="the start")
        yield running
    finally:
        running.end()


def test_a_source_that_breaks_is_replaced_and_nothing_is_lost():
    """Known before, dead in between, reaped in between: each told once, whoever sees it."""
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
    """What it brought before it broke is told, and nothing of it is told again."""
    with zombies(700) as family, engine(Breaking(breaks)) as running:
        heard = running.heard
        heard.detected(family.pids)
        wait_until(lambda: heard.of(EventName.SOURCE_CHANGED), what="the change")
        heard.detected(family.spawn(1))
        assert heard.count(EventName.ZOMBIE_DETECTED, family.pids) == 701
        assert heard.count(EventName.ZOMBIE_REAPED, family.pids) == 0


def test_hooks_that_no_longer_fire_are_noticed():
    """Somebody detached them: a snapshot shows a death that nobody saw."""
    source = CoreSource(min_age_ns=MIN_AGE)
    with engine(source) as running, zombies(2) as family:
        heard = running.heard
        heard.detected(family.pids)
        for link in source._links[1:]:
            link.destroy()

        def changed():
            # The kernel may detach a little later: until then deaths are still seen.
            family.spawn(1)
            old_enough = boot_ns() + MIN_AGE
            wait_until(lambda: boot_ns() > old_enough)
            running.engine._next_snapshot_boot_ns = 0
            os.eventfd_write(running.engine._wake, 1)
            return heard.of(EventName.SOURCE_CHANGED)

        [changed] = wait_until(changed, what="the change")
        assert changed.fields["source"]["name"] == "proc"
        family.spawn(1)
        heard.detected(family.pids)
        assert heard.count(EventName.ZOMBIE_DETECTED, family.pids) == len(family.pids)


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
    drained = heard.storms(leaks.parent)[-1]
    assert drained.parent_gone
    assert drained.parent.comm == "leaks"
    assert (drained.storm.zombies, drained.storm.adopted) == (0, 280)
    adopter = heard.storms(leaks.pid)[-1]
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


def counted(told, detected):
    """Return the storm's reports once one has that count."""
    storms = [context.storm for context in told]
    return storms if any(storm.detected == detected for storm in storms) else None


def ended(told):
    """Return the storm's reports once it has drained."""
    storms = [context.storm for context in told]
    return storms if any(storm.phase is StormPhase.DRAINED for storm in storms) else None
