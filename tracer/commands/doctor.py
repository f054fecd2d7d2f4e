"""`tracer doctor`: says whether the agent can see here, and what to do if it cannot."""

import argparse
import os
import sys
from typing import Any

from tracer import options
from tracer.doctor.report import as_json, as_text
from tracer.doctor.run import examine
from tracer.options import STATE_DIR

_EPILOG = """\
examples:
  tracer doctor
  tracer doctor -o json | jq '.checks[] | select(.status != "ok")'
  tracer doctor --proc-root /host/proc --no-kubernetes

exit status: 0 when nothing that matters failed, 1 otherwise
"""


def add_parser(subparsers: Any) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="say whether the agent can see here, and what to do if it cannot",
        description="Says whether the agent can see here, and what to do if it cannot.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("-o", "--output", choices=("text", "json"), default="text", help="default text")
    add("--proc-root", metavar="PATH", help="where the host's proc is mounted (default /proc)")
    add("--state-dir", metavar="PATH", help=f"of the agent, or none (default {STATE_DIR})")
    add("--node-name", metavar="NAME", help="default $NODE_NAME, else the host name")
    add("--kubeconfig", metavar="PATH", help="how to reach the API server")
    add("--no-kubernetes", action="store_true", default=None, help="ask no API server")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return 1 when a check that matters failed."""
    report = examine(options.read(args, min_age="10s"), os.environ)
    sys.stdout.write((as_json(report) if args.output == "json" else as_text(report)) + "\n")
    return 1 if report.failed else 0
