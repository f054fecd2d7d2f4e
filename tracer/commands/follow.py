"""The options of `tracer --follow` that the agent and its clients share."""

import argparse

from tracer.errors import UsageError

MIN_AGE = "3s"


def read_format(args: argparse.Namespace) -> str:
    """Return the format of --follow: text or json.

    Raises:
        UsageError: an option is wrong, or does not go with the others.
    """
    if args.output not in (None, "json", "text"):
        raise UsageError(f"--output {args.output!r} is not a format; use text or json")
    if args.output is not None and not args.follow:
        raise UsageError("--output needs --follow: without it the agent always writes JSON")
    if args.command_lines and args.follow and args.output != "json":
        raise UsageError("--command-lines with --follow needs -o json: the live view has no room")
    if args.follow and (args.log_burst is not None or args.log_rate is not None):
        raise UsageError(
            "--log-burst and --log-rate are for the agent's log, --follow has no limit"
            " (see `tracer --help`)"
        )
    return args.output or "text"
