"""The command line: parses it, runs a command, turns errors into one line and a status."""

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tracer import __version__
from tracer.commands.parsing import COMMANDS, parse
from tracer.commands.stdin_watch import end_with_stdin
from tracer.errors import (
    CANNOT_RUN_STATUS,
    USAGE_STATUS,
    PermanentError,
    TracerError,
    UsageError,
    internal_error,
)
from tracer.render import plain

INTERRUPTED_STATUS = 130

HANDLED_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""End the agent cleanly; tracer.commands.agent handles them."""

_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(argv: Sequence[str] | None = None, *, no_agent: str | None = None) -> int:
    """Run `tracer` in this process; return its exit status.

    Args:
        argv: the command line, by default that of the process.
        no_agent: why no agent did this; None when none was asked.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in COMMANDS:
        return _guarded(lambda: _run(arguments, no_agent))
    # The agent handles them. Until it does, its imports take a while, and as PID 1 of a
    # container it would not even die of them: the kernel drops what such a process does not
    # handle, but keeps what it blocks.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
    try:
        return _guarded(lambda: _run(arguments, no_agent))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kubectl_main() -> int:
    """Run as a kubectl plugin: `kubectl zombies …`."""
    from tracer.commands.kubectl import run  # noqa: PLC0415 - nothing else needs it

    return _guarded(lambda: run(sys.argv[1:]))


def _guarded(command: Callable[[], int]) -> int:
    """Run a command; an error becomes one line and a status."""
    try:
        _replace_closed_streams()
        _replace_unencodable()
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

    Raises:
        PermanentError: stdout was closed. Nothing has begun yet, so that nothing is lost.
    """
    closed = False
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - stays open
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open
        closed = True
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - stays open
    if closed:
        raise PermanentError(
            "standard output is closed, so nothing can be written; redirect it to a file, or to"
            " /dev/null to discard the output"
        )


def _replace_unencodable() -> None:
    """Let no name and no sign of ours be an error where the streams take ASCII only."""
    plain.register()
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    encoding = "ascii" if plain.wants_ascii(*map(os.environ.get, names)) else None
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=encoding, errors=plain.PLAIN)


def _run(arguments: Sequence[str], no_agent: str | None) -> int:
    if arguments == ["--version"]:  # without importing a command
        print(f"tracer {__version__}")
        return 0
    args = parse(arguments, no_agent=no_agent)
    if getattr(args, "exit_with_stdin", False):
        end_with_stdin()
    status: int = args.run(args)
    return status


def _say(error: TracerError, status: int) -> int:
    from tracer.commands.say import say  # noqa: PLC0415 - only for an error

    say(f"error: {error}")
    return status
