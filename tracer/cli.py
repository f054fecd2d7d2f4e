"""The command line: parses it, runs a command, turns errors into one line and a status."""

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tracer import __version__
from tracer.errors import (
    CANNOT_RUN_STATUS,
    USAGE_STATUS,
    PermanentError,
    TracerError,
    UsageError,
    internal_error,
)

COMMANDS = ("scan", "explain", "emulate", "doctor")
"""Modules of tracer.commands, imported only when their command is used."""

INTERRUPTED_STATUS = 130

HANDLED_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""End the agent cleanly; tracer.commands.agent handles them."""

_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})

_EXAMPLES = """\
commands (`tracer COMMAND --help` describes each):
  tracer              the node agent: one JSON object per line, until SIGTERM or Ctrl-C
  tracer --follow     the same as a live view
  tracer scan         list the zombies that exist now
  tracer explain PID  why a process is a zombie or leaves zombies, and what to do
  tracer emulate      make real zombies on purpose
  tracer doctor       check whether the agent can run on this node

examples:
  tracer --follow                       what happens on this node now
  tracer --follow -n shop --min-age 5s  only in one namespace, and only what stays for 5 s
  tracer scan -o wide --by zombie       every zombie with its pod and cause
  tracer | jq 'select(.event == "zombie_detected") | .cause.code'
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors: one line with the remedy."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def build_parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; imports only the module of the command in the arguments."""
    parser = _Parser(
        prog="tracer",
        description="Report zombie processes: which pod, why, and what to do.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tracer {__version__}")
    if arguments and arguments[0] in COMMANDS:
        subparsers = parser.add_subparsers(
            metavar="COMMAND", dest="command", parser_class=_Parser, help=argparse.SUPPRESS
        )
        importlib.import_module(f"tracer.commands.{arguments[0]}").add_parser(subparsers)
    else:
        agent = importlib.import_module("tracer.commands.agent")
        agent.add_arguments(parser)
        parser.set_defaults(run=agent.run, command=None)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tracer`; return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in COMMANDS:
        return _guarded(lambda: _run(arguments))
    # The agent handles them. Until it does, its imports take a while, and as PID 1 of a
    # container it would not even die of them: the kernel drops what such a process does not
    # handle, but keeps what it blocks.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        return _guarded(lambda: _run(arguments))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        # The reader of our output has closed it, as `| head` does.
        _drop_output()
        return 0
    except Exception as error:  # noqa: BLE001 - a user gets one line, never a traceback
        return _say(_unexpected(error), CANNOT_RUN_STATUS)


def _unexpected(error: Exception) -> PermanentError:
    """Turn an error that nothing handled into one line with the next step."""
    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS:
        _drop_output()
        return PermanentError(
            f"cannot write the output: {error.strerror}; free space there or write elsewhere"
        )
    return internal_error(error)


def _flushed(command: Callable[[], int]) -> int:
    """Run a command, also --help and --version, and flush its output."""
    try:
        status = command()
    except SystemExit as done:
        status = done.code if isinstance(done.code, int) else 0
    sys.stdout.flush()
    return status


def _drop_output() -> None:
    """Send stdout to /dev/null: Python would try again at exit to write what it could not."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _replace_closed_streams() -> None:
    """Open the streams that the caller closed (`>&-`): our next file would get their number.

    A closed stdout becomes a pipe without a reader, which every command handles.
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
    args, unknown = build_parser(arguments).parse_known_args(arguments)
    if unknown:
        raise _unknown(unknown, args.command)
    status: int = args.run(args)
    return status


def _unknown(unknown: Sequence[str], command: str | None) -> UsageError:
    """Say what to do about words that the parser has no place for."""
    name = f"tracer {command}" if command else "tracer"
    late = next((word for word in unknown if word in COMMANDS), None)
    option = next((word for word in unknown if word.startswith("-")), None)
    if command is None and late is not None:
        return UsageError(f"options of a command come after its name: tracer {late} …")
    if option is not None:
        return UsageError(f"`{name}` has no option {option}; see `{name} --help`")
    if command is None:
        choices = ", ".join(map(repr, COMMANDS))
        return UsageError(f"{unknown[0]!r} is not a command: use one of {choices}")
    return UsageError(f"`{name}` takes no argument {unknown[0]!r}; see `{name} --help`")


def _say(error: TracerError, status: int) -> int:
    text = " ".join(str(error).split())
    print(f"tracer: error: {text}", file=sys.stderr)
    return status
