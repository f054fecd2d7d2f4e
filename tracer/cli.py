"""The command line: parses it, runs a command, turns errors into one line and a status."""

import argparse
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tracer import __version__
from tracer.errors import PermanentError, TracerError, UsageError

COMMANDS = ("scan", "explain", "emulate", "doctor")
"""Modules of tracer.commands, imported only when their command is used."""

USAGE_STATUS = 2
CANNOT_RUN_STATUS = 3
INTERRUPTED_STATUS = 130

_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

_EXAMPLES = """\
commands:
  tracer              the node agent: one JSON object a line, until SIGTERM or Ctrl-C
  tracer --follow     the same as a live view
  tracer scan         one snapshot now
  tracer explain PID  one zombie or parent: why, and what to do
  tracer emulate      make real zombies on purpose
  tracer doctor       can the agent see here?

examples:
  tracer --follow                      what is happening on this node, now
  tracer --follow -n shop --min-age 5s only of one namespace, and only what stays
  tracer scan -o wide --by zombie      every zombie with its pod and cause
  tracer | jq 'select(.event == "zombie_detected") | .cause.code'

Every option but -f and -o can also be given as TRACER_<NAME>: TRACER_MIN_AGE=30s.
"""


class _Parser(argparse.ArgumentParser):
    """Errors become UsageError: one line, and the remedy."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the module of the command that is asked for is imported."""
    parser = _Parser(
        prog="tracer",
        description="Finds zombie processes as they happen, and says whose, why and what to do.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tracer {__version__}")
    if not arguments or arguments[0] not in COMMANDS:
        agent = importlib.import_module("tracer.commands.agent")
        agent.add_arguments(parser)
        parser.set_defaults(run=agent.run)
    subparsers = parser.add_subparsers(
        metavar="COMMAND", dest="command", parser_class=_Parser, help=argparse.SUPPRESS
    )
    for name in COMMANDS:
        if name in arguments:
            importlib.import_module(f"tracer.commands.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tracer`; return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    return _guarded(lambda: _run(arguments))


def kubectl_main() -> int:
    """Run as a kubectl plugin: `kubectl zombies …`."""
    from tracer.commands.kubectl import run  # noqa: PLC0415 - nothing else needs it

    return _guarded(lambda: run(sys.argv[1:]))


def _guarded(command: Callable[[], int]) -> int:
    """Run a command; an error becomes one line and a status."""
    _replace_closed_streams()
    try:
        return _flushed(command)
    except UsageError as error:
        return _say(error, USAGE_STATUS)
    except TracerError as error:
        return _say(error, CANNOT_RUN_STATUS)
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except BrokenPipeError:
        # Whoever read us has enough.
        _drop_output()
        return 0
    except Exception as error:  # noqa: BLE001 - nobody who watches a node wants a traceback
        return _say(_unforeseen(error), CANNOT_RUN_STATUS)


def _unforeseen(error: Exception) -> PermanentError:
    """Say what to do about an error that no part of the program has a word for."""
    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
        _drop_output()
        return PermanentError(
            f"the output cannot be written: {error.strerror}; make room, or write elsewhere"
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    return PermanentError(
        f"unforeseen {type(error).__name__} in {Path(place.filename).name}:{place.lineno}:"
        f" {error}; please report this line with what was done"
    )


def _flushed(command: Callable[[], int]) -> int:
    """Run a command, --help and --version included, until its output is out."""
    try:
        status = command()
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else 0
    sys.stdout.flush()
    return status


def _drop_output() -> None:
    """Let Python not try again at its exit to write what it could not write now."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _replace_closed_streams() -> None:
    """Open what the caller closed (`>&-`): the next file we open would get its number.

    A closed stdout becomes a pipe that nobody reads, which every command knows to
    take for a reader that went away.
    """
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - stays open
    if sys.stdout is None:
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        os.close(writer)
        if reader != 1:
            os.close(reader)
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open


def _run(arguments: Sequence[str]) -> int:
    if arguments == ["--version"]:  # without importing a command
        print(f"tracer {__version__}")
        return 0
    args = build_parser(arguments).parse_args(arguments)
    if args.command is not None and arguments[0] != args.command:
        # argparse would forget them.
        raise UsageError(f"options of a command go behind it: tracer {args.command} …")
    status: int = args.run(args)
    return status


def _say(error: TracerError, status: int) -> int:
    text = " ".join(str(error).split())
    print(f"tracer: error: {text}", file=sys.stderr)
    return status
