"""`tracer explain PID`: the story of one zombie, or of one parent."""

import argparse
import json
import sys
import time
from dataclasses import replace
from typing import Any

from tracer import options
from tracer.agent import build
from tracer.clock import boot_to_wall_ns
from tracer.commands.explain_context import ExplainContext, Explainer, Vanished
from tracer.durations import exact_duration, parse_duration
from tracer.errors import UsageError
from tracer.model import Child, Identity
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.render.explanation import Explanation
from tracer.render.explanation_text import render_explanation
from tracer.sinks.live import terminal_columns
from tracer.sources.core.source import CoreSource
from tracer.sources.select import open_source
from tracer.state.store import StateStore

NOT_FOUND_STATUS = 1
_WATCH = "2s"
_NAMES_WAIT_SECONDS = 3.0
_WIDEST = 120

_EPILOG = """\
examples:
  tracer explain 4711                why 4711 is a zombie, and what to do about it
  tracer explain 4711 --watch 30s    watch its parent longer: a rare wait shows, too
  tracer explain 4700                all zombies of a parent, or that it is healthy
  tracer explain 4711 --watch 0s     only what can be read at once
  tracer explain 4711 -o json | jq '.zombies[0].cause'

It needs no running agent, and knows more beside one: it reads from --state-dir when
zombies died and who forked them.

exit status: 0 told; 1 there is no such process; 2 a wrong command line; 3 it cannot run here
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "explain",
        help="one zombie or parent: why, and what to do",
        description="Tell the story of one zombie, or of one process and its zombies.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("pid", metavar="PID", help="as the host's /proc (and ps) shows it")
    parser.add_argument("-o", "--output", default="text", help="text (default) or json")
    parser.add_argument(
        "--watch", default=_WATCH, metavar="DURATION", help=f"its wait calls (default {_WATCH})"
    )
    options.add_arguments(parser, min_age="0s", agent=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell it; return 1 when there is no such process."""
    if args.output not in ("text", "json"):
        raise UsageError(f"--output {args.output!r}: it is one of text, json")
    pid = _pid(args.pid)
    watch_ns = parse_duration(args.watch, name="--watch")
    chosen = replace(options.read(args, min_age="0s"), min_age_ns=0)
    proc = build.open_proc(chosen)
    if proc.stat(pid) is None:
        return _not_found(pid)
    try:
        story = _story(pid, watch_ns, chosen, proc)
    except Vanished:
        return _not_found(pid)
    _print(story, chosen, as_json=args.output == "json")
    return 0


def _pid(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:12]) < 1 << 31:
        raise UsageError(f"PID {text!r}: it is a number such as 4711, as ps shows it on the node")
    return int(text)


def _not_found(pid: int) -> int:
    hint = "reaped meanwhile, or a pid inside a container? (tracer scan lists zombies, host pids)"
    print(f"tracer: error: there is no process {pid}; {hint}", file=sys.stderr)
    return NOT_FOUND_STATUS


def _story(pid: int, watch_ns: int, chosen: Options, proc: ProcFs) -> Explanation:
    makers = dict(build.source_makers(chosen, proc))
    if not watch_ns:
        # The iterator alone: nothing is hooked for one look.
        makers["core"] = lambda: CoreSource(min_age_ns=0, map_entries=16, hooks=False)
    source, reason = open_source(chosen.source, make=makers)
    try:
        if source.name != "core" and chosen.source == "auto":
            print(f"tracer: {reason}", file=sys.stderr)
        who = build.identification(chosen, proc)
        context = ExplainContext(proc, source, who.attributor, _saved(chosen, proc))
        if who.pods is not None and who.attributor.attribute_process(pid).container is not None:
            _learn_names(who.pods)

        def watching() -> None:
            print(f"watching for {exact_duration(watch_ns)} …", file=sys.stderr, flush=True)

        return Explainer(context, watching=watching).explain(pid, watch_ns)
    finally:
        source.close()


def _learn_names(pods: Any) -> None:
    pods.start()
    deadline = time.monotonic() + _NAMES_WAIT_SECONDS
    while not pods.synced and pods.last_error is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _saved(chosen: Options, proc: ProcFs) -> dict[Identity, Child]:
    state = StateStore(chosen.state_dir, proc.boot_id() or "").load()
    return {identity: saved.child for identity, saved in state.zombies.items()}


def _print(story: Explanation, chosen: Options, *, as_json: bool) -> None:
    to_wall_ns = boot_to_wall_ns()
    if as_json:
        from tracer.render.explanation_json import explanation_document  # noqa: PLC0415 - only here

        document = explanation_document(story, node_name=chosen.node_name, to_wall_ns=to_wall_ns)
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=True) + "\n")
        return
    columns = min(terminal_columns(sys.stdout.fileno()) or _WIDEST, _WIDEST)
    sys.stdout.write(render_explanation(story, to_wall_ns=to_wall_ns, columns=columns))
