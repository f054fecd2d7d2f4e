"""An engine in a thread, and a sink that keeps what it gets."""

import contextlib
import threading
from functools import partial
from pathlib import Path

from support.zombies import wait_until
from tracer.agent.age_gate import AgeGate
from tracer.agent.engine import Engine, Settings
from tracer.agent.follower import Pipeline
from tracer.agent.followers import Followers
from tracer.agent.reporter import Reporter
from tracer.agent.stop import StopRequest
from tracer.agent.supervisor import Supervisor
from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS
from tracer.diagnosis.evidence import Investigator
from tracer.errors import PermanentError
from tracer.kubernetes.node_logs import NodeLogs
from tracer.model.event import EventName
from tracer.model.status import StatusBoard
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process, read_cgroup, zombie_parent
from tracer.sinks.fanout import Fanout
from tracer.sources.proc.source import ProcSource
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.storm import StormRules
from tracer.table.table import Table

MIN_AGE = NS // 5
NO_STORMS = StormRules(burst=100_000)


class Recorder:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.events = []
        self.closed = False
        self.written = None

    def emit(self, event):
        self.events.append(event)
        if self.written is not None:
            self.written(event)

    def dropped(self):
        return 0

    def close(self, timeout_seconds):
        self.closed = True

    def reported(self, name):
        """Return the pids that this was reported of."""
        return [e.record.zombie.child.identity.pid for e in list(self.events) if e.name is name]

    def count(self, name, pids):
        """Return how often that was reported of these."""
        wanted = set(pids)
        return sum(pid in wanted for pid in self.reported(name))

    def detected(self, pids):
        wait_until(
            lambda: set(self.reported(EventName.ZOMBIE_DETECTED)) >= set(pids), what="detections"
        )

    def reaped(self, pids):
        wait_until(
            lambda: set(self.reported(EventName.ZOMBIE_REAPED)) >= set(pids), what="reapings"
        )

    def of(self, name):
        return [event for event in list(self.events) if event.name is name]

    def storms(self, parent_pid):
        reported = self.of(EventName.ZOMBIE_STORM)
        return [event.storm for event in reported if event.storm.storm.parent.pid == parent_pid]


class Running:
    """An engine in a thread of its own."""

    def __init__(
        self,
        first,
        *,
        source="auto",
        rules=NO_STORMS,
        sinks=(),
        makers=None,
        pace=None,
        proc=None,
        checkpoint=None,
        min_age_ns=MIN_AGE,
        follow_rules=NO_STORMS,
    ):
        proc = proc or ProcFs(Path("/proc"))
        self.heard = Recorder()
        self.error = None
        self.board = StatusBoard()
        self.stop = StopRequest()
        self.sources = Supervisor(
            source,
            makers or {"core": lambda: first, "proc": lambda: ProcSource(proc, MIN_AGE)},
            pace=pace,
        )
        attributor = Attributor(partial(read_cgroup, proc), None, NodeLogs(Path("/")))
        investigator = Investigator(proc, self.sources)

        def make(age, sink, rules=follow_rules):
            table = Table(age, rules, partial(living_process, proc))
            reporter = Reporter(
                proc=proc,
                attributor=attributor,
                filters=Filters(),
                investigator=investigator,
                sink=sink,
                siblings=table.siblings,
            )
            return Pipeline(table, reporter)

        sink = Fanout([*sinks, self.heard])
        table, reporter = make(min_age_ns, sink, rules)
        gate = AgeGate(min_age_ns, partial(zombie_parent, proc))
        self.table, self.make = table, make
        self.followers = Followers(min_age_ns, make, gate, self.stop.wake)
        self.checkpoint = (
            checkpoint(self.sources)
            if checkpoint
            else Checkpoint(StateStore(None, ""), proc, self.sources, writes=False)
        )
        self.engine = Engine(
            Settings(),
            sources=self.sources,
            table=table,
            reporter=reporter,
            sink=sink,
            board=self.board,
            stop=self.stop,
            checkpoint=self.checkpoint,
            followers=self.followers,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.engine.run()
        except PermanentError as error:
            self.error = error

    def take_snapshot(self):
        """Make a snapshot due now."""
        self.engine._observer.hasten(0)
        self.stop.wake()

    def end(self):
        self.stop.request("the test is over")
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
