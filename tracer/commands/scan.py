"""`tracer scan`: one snapshot now, then exit."""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from tracer import options
from tracer.agent import build
from tracer.clock import boot_to_wall_ns
from tracer.commands import arguments
from tracer.commands.knowledge import Knowledge, own_knowledge
from tracer.commands.output import Output, OwnOutput
from tracer.commands.scan_groups import MOST_PARENTS, By, Scan
from tracer.errors import UsageError
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.render.groups import Group
from tracer.render.table import BY_PARENT, BY_POD, BY_ZOMBIE, table_lines
from tracer.render.text import one_line

MIN_AGE = "0s"
ZOMBIES_FOUND_STATUS = 1

_PIECE_CHARACTERS = 16 << 10
_OUTPUTS = ("table", "wide", "json")
_LAYOUTS = {By.PARENT: BY_PARENT, By.POD: BY_POD, By.ZOMBIE: BY_ZOMBIE}

_OPTIONS = (
    "min_age",
    *arguments.FILTERS,
    "source",
    "proc_root",
    "state_dir",
    *arguments.KUBERNETES,
    "command_lines",
    "log_level",
)

_EXAMPLES = """\
examples:
  tracer scan                        parents of zombies, those with the most first
  tracer scan --by zombie -o wide    every zombie, with all columns
  tracer scan --by pod --pods-only   pods that have zombies
  tracer scan -o json | jq '.[].cause.advice'
  tracer scan --by pod -o json | jq '.[].row.zombies'
  tracer scan --min-age 1m --exit-code || echo "zombies older than a minute"

A cause with a ? is only possible. `tracer explain PID` watches the parent and finds out more.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "scan",
        help="list the zombies that exist now",
        description="List the zombies that exist now, and exit.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", default="table", help="table (default), wide or json"
    )
    parser.add_argument(
        "--by",
        metavar="WHAT",
        help="what a row stands for: parent, zombie or pod (default parent; with -o json zombie)",
    )
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 if there are zombies")
    arguments.add_arguments(parser, _OPTIONS, min_age=MIN_AGE)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take a look and print it; return 1 for --exit-code when there are zombies.

    Raises:
        UsageError: an option is wrong, or two do not go together.
        PermanentError: the zombies cannot be seen here.
    """
    view = read_view(args)
    chosen = options.read(args, min_age=MIN_AGE)
    build.start_logging(chosen)
    proc, output = build.open_proc(chosen), OwnOutput()
    build.warn_of_time_namespace(proc)
    with own_knowledge(chosen, proc, output, no_agent=args.no_agent, only_look=True) as knowledge:
        return show(view, chosen, knowledge, output)


class View(NamedTuple):
    """How to show zombies.

    Attributes:
        output: table, wide or json.
        by: what a row stands for.
        exit_code: whether the exit status says that there are zombies.
    """

    output: str
    by: By
    exit_code: bool


def read_view(args: argparse.Namespace) -> View:
    """Return the options about the output.

    Raises:
        UsageError: one is wrong, or two do not go together.
    """
    output = _one_of("--output", args.output, _OUTPUTS)
    default_by = By.ZOMBIE if output == "json" else By.PARENT
    by = default_by if args.by is None else By(_one_of("--by", args.by, tuple(By)))
    if args.command_lines and output != "json":
        raise UsageError("--command-lines needs -o json: tables do not show command lines")
    return View(output, by, args.exit_code)


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{option} {value!r} is not one of {', '.join(choices)}")
    return value


def show(view: View, chosen: Options, knowledge: Knowledge, output: Output) -> int:
    """Print the zombies that there are now, and return the exit status."""
    scan = Scan(chosen, knowledge)
    as_json = view.output == "json"
    rows = _Counting(scan.rows(view.by, oldest_first=not as_json))
    if as_json:
        _in_pieces(_json_lines(rows, view.by, chosen, knowledge.proc), output)
    else:
        lines = table_lines(
            rows,
            _LAYOUTS[view.by],
            to_wall_ns=boot_to_wall_ns(),
            wide=view.output == "wide",
            columns=output.columns,
        )
        heading = next(lines)
        if rows.count:
            _in_pieces(chain([heading], lines), output)
        else:
            output.err(one_line(chosen.filters.describe_none(scan.elsewhere)) + "\n")
    if scan.left_out:
        output.err(
            f"{scan.left_out} more zombies are not listed; show fewer with --namespace, --pod or"
            " --min-age, or count all of them with --by pod\n"
        )
    if scan.parents_left_out:
        output.err(
            f"PARENTS is a lower bound: only the {MOST_PARENTS} parents with the most zombies were"
            " examined, but all zombies are counted\n"
        )
    return ZOMBIES_FOUND_STATUS if view.exit_code and rows.count else 0


class _Counting:
    """Counts the rows that pass by."""

    def __init__(self, rows: Iterator[Group]) -> None:
        self.count = 0
        self._rows = rows

    def __iter__(self) -> Iterator[Group]:
        for row in self._rows:
            self.count += 1
            yield row


def _in_pieces(lines: Iterable[str], output: Output) -> None:
    piece: list[str] = []
    size = 0
    for line in lines:
        piece.append(line)
        size += len(line)
        if size >= _PIECE_CHARACTERS:
            output.out("".join(piece))
            piece, size = [], 0
    output.out("".join(piece))


def _json_lines(rows: Iterable[Group], by: By, chosen: Options, proc: ProcFs) -> Iterator[str]:
    from tracer.sinks.json_line import json_line  # noqa: PLC0415 - not for tables

    to_wall_ns, boot_id = boot_to_wall_ns(), proc.boot_id()
    separator = "[\n"
    for group in rows:
        yield separator + json_line(_document(group, by, chosen.node_name, to_wall_ns, boot_id))
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def _document(
    group: Group, by: By, node_name: str, to_wall_ns: int, boot_id: str | None
) -> Mapping[str, object]:
    from tracer.render.document import zombie_document  # noqa: PLC0415 - not for tables
    from tracer.render.row_document import row_document  # noqa: PLC0415

    if by is By.ZOMBIE:
        return zombie_document(
            group.record, node_name=node_name, to_wall_ns=to_wall_ns, boot_id=boot_id
        )
    return row_document(
        group, by=by.value, node_name=node_name, to_wall_ns=to_wall_ns, boot_id=boot_id
    )
