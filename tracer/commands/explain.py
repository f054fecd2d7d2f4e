"""`tracer explain PID`: why one process is a zombie, or leaves zombies, and what to do."""

import argparse
from typing import Any, NamedTuple

from tracer import options
from tracer.agent import build
from tracer.clock import boot_to_wall_ns
from tracer.commands import arguments
from tracer.commands.explain_context import Explainer, Vanished
from tracer.commands.knowledge import Knowledge, own_knowledge
from tracer.commands.output import Output, OwnOutput
from tracer.durations import exact_duration, parse_duration
from tracer.errors import UsageError
from tracer.model import Identity
from tracer.numbers import shown, whole_number
from tracer.options import Options
from tracer.render.explanation_text import render_explanation
from tracer.render.json_text import json_text

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

It asks the running agent, which has watched all parents since it started and answers at once.
Without one it watches by itself, for --watch, and what came before remains unknown.

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
        help="how long to watch the parent's wait calls, where no agent has done so"
        f" (default {_WATCH})",
    )
    arguments.add_arguments(parser, _OPTIONS)
    parser.set_defaults(run=run)


class Question(NamedTuple):
    """What to explain, and how.

    Attributes:
        pid: the process.
        watch_ns: how long to watch, where no agent has done so.
        as_json: print JSON.
    """

    pid: int
    watch_ns: int
    as_json: bool


def run(args: argparse.Namespace) -> int:
    """Print the explanation; return 1 when there is no such process.

    Raises:
        UsageError: an option is wrong.
        PermanentError: zombies cannot be seen here.
    """
    question = read_question(args)
    chosen = options.read(args, min_age="0s")
    build.start_logging(chosen)
    proc, output = build.open_proc(chosen), OwnOutput()
    build.warn_of_time_namespace(proc)
    if proc.stat(question.pid) is None:
        return _not_found(question.pid, output)
    with own_knowledge(
        chosen, proc, output, no_agent=args.no_agent, only_look=not question.watch_ns
    ) as knowledge:
        return show(question, chosen, knowledge, output)


def read_question(args: argparse.Namespace) -> Question:
    """Return the command's own options.

    Raises:
        UsageError: one is wrong.
    """
    if args.output not in ("text", "json"):
        raise UsageError(f"--output {args.output!r} is not one of text, json")
    watch_ns = parse_duration(args.watch, name="--watch")
    return Question(_pid(args.pid), watch_ns, as_json=args.output == "json")


def _pid(text: str) -> int:
    pid = whole_number(text, 1, (1 << 31) - 1)
    if pid is None:
        raise UsageError(
            f"PID {shown(text)} is not a process id; write a number such as 4711, as ps on the node"
            " shows it"
        )
    return pid


def _not_found(pid: int, output: Output) -> int:
    output.err(
        f"tracer: error: there is no process {pid}: it was reaped, or this is its pid inside a"
        " container; `tracer scan` lists zombies by their pids on the host\n"
    )
    return NOT_FOUND_STATUS


def show(question: Question, chosen: Options, knowledge: Knowledge, output: Output) -> int:
    """Print the explanation, and return the exit status."""

    def watching() -> None:
        output.err(f"watching for {exact_duration(question.watch_ns)} …\n")

    if _in_container(knowledge, question.pid):
        knowledge.wait_for_pod_names()
    try:
        explanation = Explainer(knowledge, watching=watching).explain(
            question.pid, question.watch_ns
        )
    except Vanished:
        return _not_found(question.pid, output)
    to_wall_ns = boot_to_wall_ns()
    if question.as_json:
        from tracer.render.explanation_json import explanation_document  # noqa: PLC0415 - only here

        document = explanation_document(
            explanation,
            node_name=chosen.node_name,
            to_wall_ns=to_wall_ns,
            boot_id=knowledge.proc.boot_id(),
        )
        output.out(json_text(document) + "\n")
        return 0
    columns = min(output.columns or _WIDEST, _WIDEST)
    output.out(render_explanation(explanation, to_wall_ns=to_wall_ns, columns=columns))
    return 0


def _in_container(knowledge: Knowledge, pid: int) -> bool:
    stat = knowledge.proc.stat(pid)
    if stat is None:
        return False
    found = knowledge.attributor.attribute_process(Identity(pid, stat.start_ticks))
    return found.container is not None
