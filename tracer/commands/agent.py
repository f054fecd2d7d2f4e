"""`tracer`, the node agent, and `tracer --follow`, the same engine as a live view."""

import argparse
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Protocol

from tracer import __version__, options
from tracer.agent import build
from tracer.agent.engine import Engine, Settings
from tracer.agent.reporter import Reporter
from tracer.clock import NS
from tracer.commands import arguments
from tracer.durations import exact_duration
from tracer.errors import UsageError
from tracer.model.event import Event, Sink
from tracer.model.status import EngineStatus
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process
from tracer.procfs.pidns import visibility_problem
from tracer.sinks.jsonlog import JsonLogSink
from tracer.sinks.live import LiveSink
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.table import Table

AGENT_MIN_AGE = "10s"
FOLLOW_MIN_AGE = "3s"


class _Closable(Protocol):
    def close(self) -> None: ...


@dataclass(slots=True)
class _Late:
    """What the parts of an engine need of the engine, which is made last."""

    engine: Engine | None = None
    stopped: str | None = None

    def attach(self, engine: Engine) -> None:
        """Make the engine known, and pass on a stop that came before it."""
        self.engine = engine
        if self.stopped is not None:
            engine.stop(self.stopped)

    def emit(self, event: Event) -> None:
        if self.engine is not None:
            self.engine.emit_to_sinks(event)

    def status(self) -> EngineStatus:
        return EngineStatus() if self.engine is None else self.engine.status

    def stop(self, reason: str) -> None:
        # Kept first: attach() may run in another thread meanwhile.
        self.stopped = self.stopped or reason
        if self.engine is not None:
            self.engine.stop(reason)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the agent and of --follow."""
    parser.add_argument(
        "-f", "--follow", action="store_true", help="show zombies live, for a person"
    )
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", help="with --follow: text (default) or json"
    )
    arguments.add_arguments(parser, min_age=f"{AGENT_MIN_AGE}, with --follow {FOLLOW_MIN_AGE}")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, SIGINT or a closed stdout."""
    follow: bool = args.follow
    if args.output not in (None, "json", "text"):
        raise UsageError(f"--output {args.output!r}: it is text or json")
    if args.output is not None and not follow:
        raise UsageError("--output goes with --follow: the agent always writes JSON")
    if args.command_lines and follow and args.output != "json":
        raise UsageError("--command-lines with --follow needs -o json: the live view has no room")
    chosen = options.read(args, min_age=FOLLOW_MIN_AGE if follow else AGENT_MIN_AGE)
    build.start_logging(chosen)
    late = _Late()
    # From here on: whoever ends us while a source is being loaded wants a clean end too.
    with _signals(late.stop):
        _run_engine(chosen, late, follow=follow, live=follow and args.output != "json")
    return 0


def _run_engine(chosen: Options, late: _Late, *, follow: bool, live: bool) -> None:
    proc = build.open_proc(chosen)
    store = StateStore(chosen.state_dir, proc.boot_id() or "")
    memory = Checkpoint(store, proc, writes=not follow)
    sinks: list[Sink] = [_main_sink(chosen, memory, late, live=live)]
    server = _serve(chosen, late, sinks)
    try:
        engine = _engine(chosen, proc, memory, late, sinks)
        late.attach(engine)
        engine.run()
    finally:
        if server is not None:
            server.close()


def _main_sink(chosen: Options, memory: Checkpoint, late: _Late, *, live: bool) -> Sink:
    def closed() -> None:
        late.stop("stdout was closed")

    if live:
        shown = LiveSink(on_closed=closed)
        shown.start()
        return shown
    log = JsonLogSink(
        node_name=chosen.node_name,
        version=__version__,
        level="info" if chosen.log_level == "debug" else chosen.log_level,
        written=memory.written,
        on_closed=closed,
    )
    log.start()
    build.start_logging(chosen, log.handler())
    return log


def _serve(chosen: Options, late: _Late, sinks: list[Sink]) -> _Closable | None:
    if chosen.metrics_address is None:
        return None
    from tracer.sinks.http import MetricsServer, parse_address  # noqa: PLC0415 - only when asked
    from tracer.sinks.metrics import MetricsSink  # noqa: PLC0415

    metrics = MetricsSink(late.status)
    sinks.append(metrics)
    server = MetricsServer(parse_address(chosen.metrics_address), metrics.registry, late.status)
    server.start()
    return server


def _engine(
    chosen: Options, proc: ProcFs, memory: Checkpoint, late: _Late, sinks: list[Sink]
) -> Engine:
    table = Table(chosen.min_age_ns, parent_identity=partial(living_process, proc))
    investigator = build.CurrentInvestigator(proc)
    who = build.identification(chosen, proc)
    reporter = Reporter(
        proc=proc,
        attributor=who.attributor,
        filters=chosen.filters,
        investigator=investigator,
        sink=late,
        siblings=table.siblings,
        hold_ns=NS // 4 if chosen.min_age_ns > NS else NS // 10,
        command_lines=chosen.command_lines,
    )

    if who.pods is not None:
        who.pods.start()
    return Engine(
        Settings(
            source=chosen.source,
            node_name=chosen.node_name,
            not_ready=visibility_problem(proc, chosen.proc_root),
            facts=_facts(chosen, who.reason),
        ),
        makers=build.source_makers(chosen, proc),
        table=table,
        reporter=reporter,
        use_source=investigator.use,
        sinks=sinks,
        memory=memory,
        pods=who.pods,
    )


def _facts(chosen: Options, kubernetes: str) -> dict[str, object]:
    return {
        "settings": {
            "min_age_seconds": chosen.min_age_ns / NS,
            "min_age": exact_duration(chosen.min_age_ns),
            "source": chosen.source,
            "state_dir": None if chosen.state_dir is None else str(chosen.state_dir),
            "pods_only": chosen.filters.pods_only,
            "filtered": chosen.filters.any,
            "pid": os.getpid(),
        },
        "kubernetes": {"access": kubernetes},
    }


class _signals:  # noqa: N801 - reads as a function in a with statement
    """SIGTERM and SIGINT end the engine; what was before comes back afterwards.

    Unless one came: then the process is ending well, and another must not spoil that.
    """

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop
        self._before: dict[int, object] = {}
        self._received = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._received = True
        self._stop(signal.Signals(number).name)

    def __enter__(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: whoever started us wants us to outlive the terminal
            self._before[number] = signal.signal(number, self._handle)

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            after = signal.SIG_IGN if self._received else before
            signal.signal(number, after)  # type: ignore[arg-type]
