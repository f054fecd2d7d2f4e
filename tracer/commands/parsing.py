"""Parses command lines, and says what to do about wrong ones."""

import argparse
import importlib
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from tracer import __version__
from tracer.errors import UsageError

COMMANDS = ("scan", "explain", "emulate", "doctor")
"""Modules of tracer.commands, imported only when their command is used."""

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

scan, explain and --follow ask the running agent, which has seen what came before them. Without
one, or with --source, --proc-root, --kubeconfig or --no-kubernetes, they trace by themselves.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors: one line with the remedy.

    A value such as -5s is a value: only what does not begin with a digit is an option.
    """

    _negative_number_matcher = re.compile(r"^-\.?\d")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = _Parser._negative_number_matcher

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


class _ClientsParser(_Parser):
    """The same for the command line of a client, which prints help by itself."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **(options | {"add_help": False}))


def parse(
    arguments: Sequence[str], *, no_agent: str | None = None, for_client: bool = False
) -> argparse.Namespace:
    """Parse a command line; the result's `run` runs the command.

    Args:
        arguments: the command line, without the program's name.
        no_agent: why no agent answered; None when none was asked.
        for_client: never print anything, not even for --help.

    Raises:
        UsageError: it is wrong.
        SystemExit: after --help or --version, which are printed.
    """
    parser = build_parser(arguments, _ClientsParser if for_client else _Parser)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise _unknown(unknown, args.command)
    args.no_agent = no_agent
    return args


def build_parser(
    arguments: Sequence[str], kind: type[argparse.ArgumentParser] = _Parser
) -> argparse.ArgumentParser:
    """Return the parser; imports only the module of the command in the arguments."""
    parser = kind(
        prog="tracer",
        description="Report zombie processes: which pod, why, and what to do.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if kind is _Parser:
        parser.add_argument("--version", action="version", version=f"tracer {__version__}")
    if arguments and arguments[0] in COMMANDS:
        subparsers = parser.add_subparsers(
            metavar="COMMAND", dest="command", parser_class=kind, help=argparse.SUPPRESS
        )
        importlib.import_module(f"tracer.commands.{arguments[0]}").add_parser(subparsers)
    else:
        agent = importlib.import_module("tracer.commands.agent")
        agent.add_arguments(parser)
        parser.set_defaults(run=agent.run, command=None)
    return parser


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
