"""`tracer doctor`: says whether the agent can see here, and what to do if it cannot."""

import argparse
import os
import sys
from typing import Any

from tracer.doctor.examine import Settings, examine
from tracer.doctor.report import as_json, as_text

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
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    environment = os.environ.get
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument(
        "--proc-root",
        metavar="PATH",
        default=environment("TRACER_PROC_ROOT", "/proc"),
        help="where the host's proc file system is mounted (default: %(default)s)",
    )
    parser.add_argument(
        "--state-dir",
        metavar="PATH",
        default=environment("TRACER_STATE_DIR", "/run/zombie-tracer"),
        help="what the agent would keep its state in (default: %(default)s)",
    )
    parser.add_argument(
        "--node-name",
        metavar="NAME",
        default=environment("TRACER_NODE_NAME", ""),
        help="this node's name in the cluster (default: $NODE_NAME, else the host name)",
    )
    parser.add_argument(
        "--kubeconfig",
        metavar="PATH",
        default=environment("TRACER_KUBECONFIG") or None,
        help="credentials for the API server",
    )
    parser.add_argument(
        "--no-kubernetes",
        action="store_true",
        default=environment("TRACER_NO_KUBERNETES", "").lower() in {"1", "true", "yes"},
        help="do not ask the API server",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return 1 when a check that matters failed."""
    report = examine(
        Settings(
            proc_root=args.proc_root,
            state_dir=args.state_dir,
            node_name=args.node_name,
            kubeconfig=args.kubeconfig,
            no_kubernetes=args.no_kubernetes,
        )
    )
    sys.stdout.write((as_json(report) if args.output == "json" else as_text(report)) + "\n")
    return 1 if report.failed else 0
