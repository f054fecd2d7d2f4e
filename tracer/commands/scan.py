"""`tracer scan`: one snapshot now, then exit."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tracer import options
from tracer.agent import build
from tracer.clock import boot_to_wall_ns
from tracer.commands import arguments
from tracer.commands.scan_groups import By, Scan
from tracer.errors import UsageError
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.render.groups import Group
from tracer.render.table import BY_PARENT, BY_POD, BY_ZOMBIE, render_table
from tracer.sinks.live import terminal_columns
from tracer.sources.core.source import CoreSource
from tracer.sources.select import Makers, open_source

MIN_AGE = "0s"
ZOMBIES_FOUND_STATUS = 1

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
    """Take a snapshot and print it; return 1 for --exit-code when there are zombies.

    Raises:
        UsageError: an option is wrong, or two do not go together.
        PermanentError: the zombies cannot be seen here.
    """
    output = _one_of("--output", args.output, _OUTPUTS)
    default_by = By.ZOMBIE if output == "json" else By.PARENT
    by = default_by if args.by is None else By(_one_of("--by", args.by, tuple(By)))
    if args.command_lines and output != "json":
        raise UsageError("--command-lines needs -o json: tables do not show command lines")
    chosen = options.read(args, min_age=MIN_AGE)
    build.start_logging(chosen)
    rows = _scan(chosen, by)
    if output == "json":
        _print_json(rows, by, chosen)
    else:
        _print_table(rows, by, wide=output == "wide")
    return ZOMBIES_FOUND_STATUS if args.exit_code and rows else 0


def _one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageError(f"{option} {value!r} is not one of {', '.join(choices)}")
    return value


def _scan(chosen: Options, by: By) -> list[Group]:
    proc = build.open_proc(chosen)
    source, reason = open_source(chosen.source, make=_makers(chosen, proc))
    try:
        if source.name != "core" and chosen.source == "auto":
            print(f"tracer: {reason}", file=sys.stderr)
        return Scan(chosen, proc, source).rows(by)
    finally:
        source.close()


def _makers(chosen: Options, proc: ProcFs) -> Makers:
    makers = dict(build.source_makers(replace(chosen, min_age_ns=0), proc))
    # One snapshot needs the task iterator only, not the hooks.
    makers["core"] = lambda: CoreSource(min_age_ns=0, map_entries=16, hooks=False)
    return makers


def _print_json(rows: list[Group], by: By, chosen: Options) -> None:
    from tracer.sinks.json_line import json_line  # noqa: PLC0415 - not for tables

    to_wall_ns = boot_to_wall_ns()
    out = sys.stdout
    out.write("[")
    for index, group in enumerate(rows):
        document = _document(group, by, chosen.node_name, to_wall_ns)
        out.write(("," if index else "") + "\n" + json_line(document))
    out.write("\n]\n" if rows else "]\n")


def _document(group: Group, by: By, node_name: str, to_wall_ns: int) -> Mapping[str, object]:
    from tracer.render.document import zombie_document  # noqa: PLC0415 - not for tables
    from tracer.render.row_document import row_document  # noqa: PLC0415

    if by is By.ZOMBIE:
        return zombie_document(group.record, node_name=node_name, to_wall_ns=to_wall_ns)
    return row_document(group, by=by.value, node_name=node_name, to_wall_ns=to_wall_ns)


def _print_table(rows: list[Group], by: By, *, wide: bool) -> None:
    if not rows:
        print("no zombies", file=sys.stderr)
        return
    if by is By.ZOMBIE:
        rows = sorted(rows, key=lambda group: -group.record.age_ns)
    columns = terminal_columns(sys.stdout.fileno())
    text = render_table(
        rows, _LAYOUTS[by], to_wall_ns=boot_to_wall_ns(), wide=wide, columns=columns
    )
    sys.stdout.write(text)
