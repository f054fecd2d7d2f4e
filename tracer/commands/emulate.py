"""`tracer emulate`: make real zombies on purpose."""

import argparse
import os
import sys

from tracer.durations import parse_duration
from tracer.errors import UsageError

MAX_COUNT = 4_194_304
"""PID_MAX_LIMIT of 64-bit kernels: no machine can hold more."""

_EPILOG = """\
examples:
  tracer emulate                                  one zombie, until Ctrl-C
  tracer emulate --count 10 --hold 2m             ten, for two minutes
  tracer emulate --count 600 --rate 10            one every tenth of a second
  tracer emulate --cause init_does_not_reap       orphans of a pid 1 that is no init
  tracer emulate --cause dead_leader              looks defunct, is alive, must not be reported

Everything is cleaned up at the end, also after Ctrl-C, SIGTERM or kill -9.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    from tracer.emulate.scenarios import SCENES  # noqa: PLC0415 - only this command needs it

    parser = subparsers.add_parser(
        "emulate",
        help="make real zombies on purpose",
        description="Make real zombie processes on purpose, and clean them up afterwards.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--count", default="1", metavar="N", help="zombies to make (default 1)")
    parser.add_argument(
        "--cause",
        default="parent_never_waits",
        metavar="CAUSE",
        help=f"why they stay: {', '.join(SCENES)} (default parent_never_waits)",
    )
    parser.add_argument("--rate", metavar="R", help="zombies a second (default: at once)")
    parser.add_argument(
        "--hold", metavar="DURATION", help="keep them so long, such as 90s (default: until Ctrl-C)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play the cause asked for; return 0 when it was cleaned up.

    Raises:
        UsageError: an option is wrong.
        PermanentError: it cannot be done here, or not as many of them.
    """
    from tracer.emulate.run import Stage, emulate  # noqa: PLC0415 - only this command needs it
    from tracer.emulate.scenarios import SCENES  # noqa: PLC0415

    if args.cause not in SCENES:
        raise UsageError(
            f"--cause: {args.cause!r} cannot be made; choose one of {', '.join(SCENES)}"
        )
    stage = Stage(
        count=_count(args.count),
        rate=None if args.rate is None else _rate(args.rate),
        hold_ns=None if args.hold is None else parse_duration(args.hold, name="--hold"),
        say=_say,
    )
    emulate(SCENES[args.cause], stage)
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:20]) <= MAX_COUNT:
        raise UsageError(f"--count: {text!r} is not a whole number from 1 to {MAX_COUNT}")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 1e6:
        raise UsageError(f"--rate: {text!r} is not a number of zombies a second, such as 0.5 or 20")
    return rate


def _say(line: str) -> None:
    """Print a line; a reader that went away must not keep us from cleaning up."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Else the interpreter complains when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
