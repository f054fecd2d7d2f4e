"""`tracer doctor`: checks whether the agent can run on this node."""

import argparse
import os
import sys
from typing import Any

from tracer import options
from tracer.commands import arguments
from tracer.doctor.report import as_json, as_text
from tracer.doctor.run import run_checks
from tracer.errors import UsageError

REQUIRED_CHECK_FAILED_STATUS = 1

_OPTIONS = ("proc_root", "state_dir", "kubeconfig", "no_kubernetes", "node_name")

_EPILOG = """\
examples:
  tracer doctor
  tracer doctor -o json | jq '.checks[] | select(.status != "ok")'
  tracer doctor --proc-root /host/proc --no-kubernetes

exit status: 0 all required checks passed; 1 one failed; 2 wrong command line
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="check whether the agent can run on this node",
        description="Check whether the agent can run on this node, and say what to do if not.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "-o", "--output", metavar="FORMAT", default="text", help="text (default) or json"
    )
    arguments.add_arguments(parser, _OPTIONS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the checks and print them; return 1 when a required check failed.

    Raises:
        UsageError: an option is wrong.
    """
    if args.output not in ("text", "json"):
        raise UsageError(f"--output {args.output!r} is not one of text, json")
    report = run_checks(options.read(args, min_age="0s"), os.environ)
    sys.stdout.write((as_json(report) if args.output == "json" else as_text(report)) + "\n")
    return REQUIRED_CHECK_FAILED_STATUS if report.failed else 0
