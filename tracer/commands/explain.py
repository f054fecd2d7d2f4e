"""`tracer explain PID`: why one process is a zombie, or leaves zombies, and what to do."""

import argparse
import json
import sys
from typing import Any

from tracer import options
from tracer.agent import build
from tracer.attribution.attributor import Attributor
from tracer.clock import boot_to_wall_ns
from tracer.commands import arguments, saved_facts
from tracer.commands.explain_context import ExplainContext, Explainer, Vanished
from tracer.commands.output import OwnOutput
from tracer.commands.pod_names import wait_for_pod_names
from tracer.durations import exact_duration, parse_duration
from tracer.errors import UsageError
from tracer.model import Identity
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.render.explanation import Explanation
from tracer.render.explanation_text import render_explanation
from tracer.sinks.live import terminal_columns
from tracer.sources.core.source import CoreSource
from tracer.sources.select import Makers, open_source

NOT_FOUND_STATUS = 1
_WATCH = "2s"
_WIDEST = 120

_OPTIONS = (
    "source",
    "proc_root",
    "state_dir",
    "map_entries",
    *arguments.KUBERNETES,
    "log_level",
)

_EPILOG = """\
examples:
  tracer explain 4711                why 4711 is a zombie, and what to do about it
  tracer explain 4711 --watch 30s    watch its parent longer, to catch rare wait calls
  tracer explain 4700                all zombies of a parent, or that it has none
  tracer explain 4711 --watch 0s     only what can be read at once
  tracer explain 4711 -o json | jq '.zombies[0].cause'

It works without a running agent. With one, it also knows when the zombies died and which
process forked them: the agent saves that in --state-dir.

exit status: 0 explained; 1 no such process; 2 wrong command line; 3 cannot run on this node
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="why a process is a zombie or leaves zombies, and what to do",
        description="Explain one zombie, or one process and its zombies: the cause and the remedy.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("pid", metavar="PID", help="the pid on the node, as ps there shows it")
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", default="text", help="text (default) or json"
    )
    parser.add_argument(
        "--watch",
        default=_WATCH,
        metavar="DURATION",
        help=f"how long to watch the parent's wait calls (default {_WATCH})",
    )
    arguments.add_arguments(parser, _OPTIONS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation; return 1 when there is no such process.

    Raises:
        UsageError: an option is wrong.
        PermanentError: zombies cannot be seen here.
    """
    if args.output not in ("text", "json"):
        raise UsageError(f"--output {args.output!r} is not one of text, json")
    pid = _pid(args.pid)
    watch_ns = parse_duration(args.watch, name="--watch")
    chosen = options.read(args, min_age="0s")
    build.start_logging(chosen)
    proc = build.open_proc(chosen)
    if proc.stat(pid) is None:
        return _not_found(pid)
    try:
        explanation = _explain(pid, watch_ns, chosen, proc)
    except Vanished:
        return _not_found(pid)
    _print(explanation, chosen, as_json=args.output == "json")
    return 0


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:12]) < 1 << 31:
        raise UsageError(
            f"PID {text!r} is not a process id; write a number such as 4711, as ps on the node"
            " shows it"
        )
    return int(text)


def _not_found(pid: int) -> int:
    print(
        f"tracer: error: there is no process {pid}: it was reaped, or this is its pid inside a"
        " container; `tracer scan` lists zombies by their pids on the host",
        file=sys.stderr,
    )
    return NOT_FOUND_STATUS


def _explain(pid: int, watch_ns: int, chosen: Options, proc: ProcFs) -> Explanation:
    source, reason = open_source(chosen.source, make=_makers(chosen, proc, watch_ns))
    try:
        if source.name != "core" and chosen.source == "auto":
            print(f"tracer: {reason}", file=sys.stderr)
        identification = build.identification(chosen, proc)
        attributor = identification.attributor
        context = ExplainContext(proc, source, attributor, saved_facts.load(chosen, proc))
        if identification.pods is not None and _in_container(attributor, proc, pid):
            wait_for_pod_names(identification.pods, OwnOutput())

        def watching() -> None:
            print(f"watching for {exact_duration(watch_ns)} …", file=sys.stderr, flush=True)

        return Explainer(context, watching=watching).explain(pid, watch_ns)
    finally:
        source.close()


def _in_container(attributor: Attributor, proc: ProcFs, pid: int) -> bool:
    stat = proc.stat(pid)
    if stat is None:
        return False
    return attributor.attribute_process(Identity(pid, stat.start_ticks)).container is not None


def _makers(chosen: Options, proc: ProcFs, watch_ns: int) -> Makers:
    makers = dict(build.source_makers(chosen, proc))
    if not watch_ns:
        # One snapshot needs the task iterator only, not the hooks.
        makers["core"] = lambda: CoreSource(min_age_ns=0, map_entries=16, hooks=False)
    return makers


def _print(explanation: Explanation, chosen: Options, *, as_json: bool) -> None:
    to_wall_ns = boot_to_wall_ns()
    if as_json:
        from tracer.render.explanation_json import explanation_document  # noqa: PLC0415 - only here

        document = explanation_document(
            explanation, node_name=chosen.node_name, to_wall_ns=to_wall_ns
        )
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")
        return
    columns = min(terminal_columns(sys.stdout.fileno()) or _WIDEST, _WIDEST)
    sys.stdout.write(render_explanation(explanation, to_wall_ns=to_wall_ns, columns=columns))
