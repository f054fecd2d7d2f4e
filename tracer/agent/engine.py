"""The loop: source → table → reporter → sinks. The agent and --follow both run it."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tracer.agent.backoff import Backoff
from tracer.agent.followers import Followers, WithFollowers
from tracer.agent.observer import Observer
from tracer.agent.report_queue import ReportQueue
from tracer.agent.reporter import Reporter
from tracer.agent.self_report import Pods, SelfReport
from tracer.agent.stop import StopRequest
from tracer.agent.supervisor import SourceChange, Supervisor
from tracer.clock import NS, boot_ns
from tracer.errors import TracerError, classified, internal_error, is_temporary
from tracer.model import Transition
from tracer.model.event import Sink
from tracer.model.status import StatusBoard
from tracer.state.checkpoint import Checkpoint
from tracer.table.table import Table

SUMMARY_NS = 300 * NS
_TICK_EVERY = 256
"""Transitions reported between two ticks: a burst of parents takes a while, and is no hang."""
_START_RETRY_FIRST_NS = NS
_START_RETRY_LONGEST_NS = 60 * NS


@dataclass(frozen=True, slots=True)
class Settings:
    """How an engine runs.

    Attributes:
        gap_ns: the shortest time between two polls of a busy source.
        not_ready: why this agent cannot see everything on the node; None when it can.
        close_seconds: what the sinks may take to write out at the end.
        facts: further fields of agent_started.
    """

    gap_ns: int = NS // 20
    not_ready: str | None = None
    close_seconds: float = 5.0
    facts: dict[str, object] = field(default_factory=dict)


class Engine:
    """Moves what the source sees through the table to the sinks, in one thread.

    Args:
        settings: how to run.
        sources: the source in use; not started.
        table: empty.
        reporter: reports transitions to the sink.
        sink: where the events about the agent itself go; closed at the end.
        board: where the status goes that other threads read.
        stop: ends run().
        checkpoint: what survives a restart; not opened.
        followers: the live views of other processes.
        pods: the watch on pods, if there is one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sources: Supervisor,
        table: Table,
        reporter: Reporter,
        sink: Sink,
        board: StatusBoard,
        stop: StopRequest,
        checkpoint: Checkpoint,
        followers: Followers,
        pods: Pods | None = None,
    ) -> None:
        self._settings = settings
        self._sources = sources
        self._table = table
        self._reporter = reporter
        self._reports = ReportQueue(reporter)
        self._sink = sink
        self._board = board
        self._stop = stop
        self._checkpoint = checkpoint
        self._followers = followers
        self._self = SelfReport(
            sources=sources,
            table=table,
            reporter=reporter,
            sink=WithFollowers(sink, followers),
            board=board,
            pods=pods,
            not_ready=settings.not_ready,
        )
        self._observer = Observer(sources, table, followers)
        self._unwritten: list[Transition] = []
        self._next_summary_boot_ns = boot_ns() + SUMMARY_NS
        self._restored = False

    def run(self) -> None:
        """Run until the stop request. Whatever ends it, agent_stopped says why.

        Raises:
            PermanentError: no source can work here, the one asked for cannot, or a bug.
        """
        failure: TracerError | None = None
        try:
            self._checkpoint.open()
            if self._start():
                self._loop()
        except TracerError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - raised again below, after the state is saved
            failure = internal_error(error)
        failure = self._end(failure)
        if failure is not None:
            raise failure

    def _start(self) -> bool:
        """Start the source and restore the state; return False when asked to stop meanwhile."""
        if not self._until_it_works(self._sources.start):
            return False
        self._self.started(self._settings.facts)
        if not self._until_it_works(self._restore):
            return False
        self._restored = True
        self._self.restored(self._unwritten)
        # Before the first snapshot: what was reaped meanwhile is reported as detected, too.
        self._report(self._unwritten, boot_ns())
        self._observer.restart(boot_ns())
        return True

    def _restore(self) -> None:
        self._unwritten = self._checkpoint.restore(self._table, self._reporter, boot_ns())

    def _until_it_works(self, action: Callable[[], None]) -> bool:
        """Repeat what fails temporarily; return False when asked to stop meanwhile."""
        backoff = Backoff(_START_RETRY_FIRST_NS, _START_RETRY_LONGEST_NS)
        while self._stop.reason is None:
            try:
                action()
            except Exception as error:
                if not is_temporary(error):
                    raise
                self._self.trouble(str(classified(error)), boot_ns())
                self._self.publish(None, snapshot_ns=None, problem=str(classified(error)))
                self._stop.sleep_until(boot_ns() + backoff.next_ns())
            else:
                return True
        return False

    def _loop(self) -> None:
        while self._stop.reason is None:
            self._round()
            self._sleep()

    def _end(self, failure: TracerError | None) -> TracerError | None:
        """Report what is held back, save the state, say why it ended, close everything."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._checkpoint.close)
            closing.callback(self._sink.close, self._settings.close_seconds)
            closing.callback(self._sources.close)
            closing.callback(self._followers.close)
            try:
                if self._restored:  # else what is saved is newer than the empty table
                    now = boot_ns()
                    self._reports.release(now, everything=True)
                    self._reports.report(self._table.finish(now), now)
                    self._checkpoint.save(self._table, now)
                    self._save_young(now)
            except Exception as error:  # noqa: BLE001 - returned, behind the first failure
                failure = failure or classified(error) or internal_error(error)
            reason = self._stop.reason if failure is None else str(failure)
            self._self.stopped(reason, failed=failure is not None)
        return failure

    def _save_young(self, now: int) -> None:
        try:
            self._checkpoint.save_young(self._table, now)
        except Exception as error:
            if classified(error) is None:
                raise
            # A source that failed for good is why the agent ends, and that is reported.

    # --- one round -----------------------------------------------------------------------

    def _round(self) -> None:
        """Do once everything that is due."""
        now = boot_ns()
        self._announce(self._sources.return_to_better(now))
        self._followers.admit(self._sources, self._table, now)
        if self._sources.ready(now):
            transitions: list[Transition] = []
            try:
                loss = self._observer.observe(now, transitions)
            except Exception as error:  # noqa: BLE001 - failed() raises it again if it is a bug
                self._announce(self._sources.failed(error, now))
                self._observer.hasten(now)
            else:
                self._sources.worked()
                self._announce(loss)
            # With the time of now: a snapshot may have taken a while.
            self._report(transitions, boot_ns())
        now = boot_ns()
        self._report(self._observer.tick(now), now)
        if self._table.wants_snapshot:
            self._observer.want_snapshot()
        self._reports.release(now)
        if now >= self._next_summary_boot_ns:
            self._next_summary_boot_ns = now + SUMMARY_NS
            self._self.summary()
        self._save_when_due(now)
        problem = self._sources.problem or self._reports.problem
        self._self.trouble(problem, now)
        self._self.publish(now, snapshot_ns=self._observer.snapshot_ns, problem=problem)
        self._followers.work(self._sources)

    def _save_when_due(self, now: int) -> None:
        try:
            self._checkpoint.save_when_due(self._table, now)
        except Exception as error:
            if not is_temporary(error):
                raise
            # What is to be saved stays to be saved: tried again in the next round.

    def _announce(self, change: SourceChange | None) -> None:
        """Report a change of the source; another source is compared with the table at once."""
        if change is None:
            return
        self._self.source_changed(change)
        if change.name != change.previous:
            self._observer.restart(boot_ns())

    def _report(self, transitions: Sequence[Transition], now: int) -> None:
        for start in range(0, len(transitions), _TICK_EVERY):
            self._reports.report(transitions[start : start + _TICK_EVERY], now)
            self._board.tick(boot_ns())

    def _sleep(self) -> None:
        """Wait for the source, a deadline or the stop request."""
        now = boot_ns()
        deadlines = [self._observer.next_boot_ns(now), self._next_summary_boot_ns]
        others = (
            self._observer.next_tick_boot_ns(),
            self._followers.next_due_boot_ns(self._sources, now),
            self._reporter.next_release_boot_ns(now),
            self._reports.next_due_boot_ns(),
            self._checkpoint.next_due_boot_ns(),
        )
        deadlines.extend(due for due in others if due is not None)
        deadline = min(deadlines)
        if not self._stop.sleep_until(min(max(deadline, now), now + self._settings.gap_ns)):
            self._stop.sleep_until(deadline, self._sources.fileno())
