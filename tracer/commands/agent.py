"""`tracer`, the node agent, and `tracer --follow`, the same engine as a live view."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType
from typing import TypeVar

from tracer import __version__, options
from tracer.agent import build
from tracer.agent.build_followers import build_followers, hold_ns
from tracer.agent.engine import Engine, Settings
from tracer.agent.reporter import Reporter
from tracer.agent.serve.server import Server
from tracer.agent.stop import StopRequest
from tracer.agent.supervisor import Supervisor
from tracer.clock import NS, boot_ns, boot_to_wall_ns
from tracer.commands import arguments
from tracer.commands.follow import MIN_AGE, read_format
from tracer.commands.serving import Serving
from tracer.diagnosis.evidence import Investigator
from tracer.durations import exact_duration
from tracer.errors import (
    CANNOT_RUN_STATUS,
    TracerError,
    UsageError,
    classified,
    internal_error,
)
from tracer.model.event import Event, EventName, Sink
from tracer.model.status import StatusBoard
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process
from tracer.procfs.pidns import visibility_problem
from tracer.render.document import event_document
from tracer.sinks.budget import LogBudget
from tracer.sinks.diagnostics import EarlyHandler
from tracer.sinks.fanout import Fanout
from tracer.sinks.json_line import log_line
from tracer.sinks.jsonlog import JsonLogSink
from tracer.sinks.live import LiveSink
from tracer.state.checkpoint import Checkpoint
from tracer.state.lines import LineNotes, NotedSink
from tracer.state.store import StateStore
from tracer.table.table import Table

_Part = TypeVar("_Part")

AGENT_MIN_AGE = "10s"
_CLOSE_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the agent and of --follow."""
    parser.add_argument(
        "-f", "--follow", action="store_true", help="show zombies live instead of logging JSON"
    )
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", help="format of --follow: text (default) or json"
    )
    arguments.add_arguments(parser, min_age=f"{AGENT_MIN_AGE}, with --follow {MIN_AGE}")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM, SIGINT or a closed stdout; return the exit status."""
    follow: bool = args.follow
    as_json = read_format(args) == "json" or not follow
    chosen = options.read(args, min_age=MIN_AGE if follow else AGENT_MIN_AGE)
    if not as_json:
        build.start_logging(chosen)
        stop = StopRequest()
        with _signals(stop.request), ExitStack() as servers:
            _engine(chosen, stop, servers, lambda *_: _live_sink(stop), writes=False).run()
        return 0
    early = EarlyHandler()
    build.start_logging(chosen, early)
    try:
        stop = StopRequest()
        # From here on: a signal that comes while a source is being loaded ends it cleanly, too.
        with _signals(stop.request), ExitStack() as servers:
            return _run_logging(chosen, stop, servers, early, writes=not follow)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - not even a log could be made (EMFILE, ENOMEM)
        _write_failed_start(chosen, classified(error) or internal_error(error))
        return CANNOT_RUN_STATUS


def _run_logging(
    chosen: Options, stop: StopRequest, servers: ExitStack, early: EarlyHandler, *, writes: bool
) -> int:
    """Run with JSON lines on stdout, and return the exit status.

    What goes wrong is in agent_stopped: stderr stays empty, so that nobody has to collect it.
    """
    logs: list[JsonLogSink] = []

    def sink(lines: LineNotes | None, boot_id: str) -> Sink:
        budget = LogBudget(chosen.log_burst, chosen.log_rate) if writes else None
        logs.append(_json_sink(chosen, stop, lines, boot_id, budget, early))
        return logs[-1]

    try:
        engine = _engine(
            chosen,
            stop,
            servers,
            sink,
            writes=writes,
            waiting=lambda: early.write_out(chosen.node_name),
        )
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - logged, as everything about the agent
        failure = error if isinstance(error, TracerError) else internal_error(error)
        _log_failed_start(logs[-1] if logs else sink(None, _boot_id(chosen) or ""), failure)
        return CANNOT_RUN_STATUS
    try:
        engine.run()
    except TracerError:
        return CANNOT_RUN_STATUS
    return 0


def _log_failed_start(log: Sink, error: TracerError) -> None:
    log.emit(_failed_start(error))
    log.close(_CLOSE_SECONDS)


def _write_failed_start(chosen: Options, error: TracerError) -> None:
    """Write that line without a thread or a queue."""
    document = event_document(
        _failed_start(error),
        node_name=chosen.node_name,
        to_wall_ns=boot_to_wall_ns(),
        version=__version__,
    )
    os.write(1, log_line(document))


def _failed_start(error: TracerError) -> Event:
    source = {"name": None, "reason": str(error)}
    return Event(EventName.AGENT_STOPPED, boot_ns(), fields={"source": source}, level="error")


def _engine(
    chosen: Options,
    stop: StopRequest,
    servers: ExitStack,
    main_sink: Callable[[LineNotes, str], Sink],
    *,
    writes: bool,
    waiting: Callable[[], None] = lambda: None,
) -> Engine:
    """Put the agent together. The order is that of the data's way back: sinks first.

    Args:
        chosen: the options.
        stop: ends it.
        servers: closes what serves the metrics and clients.
        main_sink: makes and starts what writes to stdout; gets the boot id, too.
        writes: keep state for the next agent; else only read it.
        waiting: called when it cannot be put together yet, after the reason was logged.

    Raises:
        TracerError: it cannot run here.
    """

    def retried(construct: Callable[[], _Part]) -> _Part:
        return build.retried(construct, stop, waiting)

    proc = retried(lambda: build.open_proc(chosen))
    boot_id = retried(proc.boot_id) or ""
    store = StateStore(chosen.state_dir, boot_id)
    sources = Supervisor(chosen.source, build.source_makers(chosen, proc))
    checkpoint = Checkpoint(store, proc, sources, writes=writes)
    who = retried(lambda: build.identification(chosen, proc))
    not_ready = retried(lambda: visibility_problem(proc, chosen.proc_root))
    board = StatusBoard()
    others = [] if chosen.metrics_address is None else [_metrics(chosen, board, servers)]
    sink = Fanout([main_sink(checkpoint.lines, boot_id), *others])
    build.warn_of_time_namespace(proc)
    table = Table(chosen.min_age_ns, parent_identity=partial(living_process, proc))
    investigator = Investigator(proc, sources)
    reporter = Reporter(
        proc=proc,
        attributor=who.attributor,
        filters=chosen.filters,
        investigator=investigator,
        sink=NotedSink(sink, checkpoint.lines),
        siblings=table.siblings,
        hold_ns=hold_ns(chosen.min_age_ns),
        command_lines=chosen.command_lines,
    )
    if who.pods is not None:
        who.pods.start()
    if writes:
        checkpoint.open()
    followers = build_followers(chosen, proc, who.attributor, investigator, stop.wake)
    if store.writes and chosen.state_dir is not None:
        serving = Serving(
            chosen, sources=sources, index=who.index, saved=checkpoint, followers=followers
        )
        server = Server(chosen.state_dir, serving.handle)
        server.start()
        servers.callback(server.close)
    return Engine(
        Settings(
            not_ready=not_ready,
            close_seconds=_CLOSE_SECONDS,
            facts=_facts(chosen, who.reason),
        ),
        sources=sources,
        table=table,
        reporter=reporter,
        sink=sink,
        board=board,
        stop=stop,
        checkpoint=checkpoint,
        followers=followers,
        pods=who.pods,
    )


def _live_sink(stop: StopRequest) -> Sink:
    shown = LiveSink(
        on_closed=lambda: stop.request("stdout was closed"), encoding=sys.stdout.encoding
    )
    shown.start()
    return shown


def _json_sink(
    chosen: Options,
    stop: StopRequest,
    lines: LineNotes | None,
    boot_id: str,
    budget: LogBudget | None,
    early: EarlyHandler,
) -> JsonLogSink:
    log = JsonLogSink(
        node_name=chosen.node_name,
        version=__version__,
        boot_id=boot_id,
        level="info" if chosen.log_level == "debug" else chosen.log_level,
        budget=budget,
        writing=None if lines is None else lines.writing,
        written=None if lines is None else lines.written,
        on_closed=lambda: stop.request("stdout was closed"),
    )
    log.start()
    handler = log.handler()
    build.start_logging(chosen, handler)
    early.hand_over(handler)
    return log


def _boot_id(chosen: Options) -> str | None:
    with suppress(OSError, TracerError):  # then it cannot start, and the log says why
        return ProcFs(chosen.proc_root).boot_id()
    return None


def _metrics(chosen: Options, board: StatusBoard, servers: ExitStack) -> Sink:
    """Serve /metrics and the probes until `servers` is closed."""
    from tracer.sinks.http import MetricsServer, parse_address  # noqa: PLC0415 - only when asked
    from tracer.sinks.metrics import MetricsSink  # noqa: PLC0415

    metrics = MetricsSink(board.current)
    address = parse_address(chosen.metrics_address or "")
    server = MetricsServer(address, metrics.registry, board.current)
    server.start()
    servers.callback(server.close)
    return metrics


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
    """SIGTERM and SIGINT end the engine; the handlers from before come back afterwards.

    Unless one came: then the process is ending, and a second signal must not kill it.
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
                continue  # nohup: the agent is to outlive its terminal
            self._before[number] = signal.signal(number, self._handle)
        # The command line blocked them so that none is lost before the handlers are there.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            after = signal.SIG_IGN if self._received else before
            signal.signal(number, after)  # type: ignore[arg-type]
