"""`tracer emulate`: make real zombies on purpose."""

import argparse
import os
import sys

from tracer.durations import parse_duration
from tracer.errors import UsageError
from tracer.numbers import shown, whole_number

MAX_COUNT = 4_194_304
"""PID_MAX_LIMIT of 64-bit kernels: no machine can hold more."""

_EPILOG = """\
examples:
  tracer emulate                                  one zombie, until Ctrl-C
  tracer emulate --count 10 --hold 2m             ten, for two minutes
  tracer emulate --count 600 --rate 10            ten per second, 600 in all
  tracer emulate --cause init_does_not_reap       orphans of a PID 1 that does not reap
  tracer emulate --cause dead_leader              defunct in ps, but alive: must not be reported

All processes are removed at the end, also after Ctrl-C, SIGTERM or kill -9.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    from tracer.emulate.scenarios import SCENARIOS  # noqa: PLC0415 - only this command needs it

    parser = subparsers.add_parser(
        "emulate",
        help="make real zombies on purpose",
        description="Make real zombie processes on purpose, and remove them afterwards.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--count", default="1", metavar="N", help="zombies to make (default 1)")
    parser.add_argument(
        "--cause",
        default="parent_never_waits",
        metavar="CAUSE",
        help=f"why they are not reaped: {', '.join(SCENARIOS)} (default parent_never_waits)",
    )
    parser.add_argument("--rate", metavar="R", help="zombies per second (default: all at once)")
    parser.add_argument(
        "--hold",
        metavar="DURATION",
        help="keep them this long, such as 90s (default: until Ctrl-C)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the scenario of a cause; return 0 when everything is cleaned up.

    Raises:
        UsageError: an option is wrong.
        PermanentError: it cannot be done here, or not that many.
    """
    from tracer.emulate.run import EmulationRun, emulate  # noqa: PLC0415 - only this command needs it
    from tracer.emulate.scenarios import SCENARIOS  # noqa: PLC0415

    if args.cause not in SCENARIOS:
        raise UsageError(f"--cause: {_why_not(args.cause)}; choose one of {', '.join(SCENARIOS)}")
    emulation = EmulationRun(
        count=_count(args.count),
        rate=None if args.rate is None else _rate(args.rate),
        hold_ns=None if args.hold is None else parse_duration(args.hold, name="--hold"),
        say=_say,
    )
    emulate(SCENARIOS[args.cause], emulation)
    return 0


def _why_not(cause: str) -> str:
    from tracer.diagnosis.causes import CAUSES  # noqa: PLC0415 - only for this message

    known = next((one for one in CAUSES if one.code == cause), None)
    if known is None:
        return f"{cause!r} is not a cause"
    return f"{cause!r} cannot be emulated ({known.no_scenario})"


def _count(text: str) -> int:
    count = whole_number(text, 1, MAX_COUNT)
    if count is None:
        raise UsageError(f"--count: {shown(text)} is not a whole number from 1 to {MAX_COUNT}")
    return count


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0.001 <= rate <= 1e6:
        raise UsageError(f"--rate: {shown(text)} is not a rate per second, such as 0.5 or 20")
    return rate


def _say(line: str) -> None:
    """Print a line; a closed stdout must not keep the run from cleaning up."""
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Otherwise the interpreter complains when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
