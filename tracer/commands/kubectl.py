"""`kubectl zombies`: the commands of `tracer`, run by the agents of the cluster's nodes.

kubectl does the talking: its contexts, credentials and permissions are the user's own.
"""

import argparse
import itertools
import shutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from tracer.commands.kubectl_agents import Kubectl, Result
from tracer.commands.kubectl_answers import Agent, no_rows, rows_of
from tracer.errors import CANNOT_RUN_STATUS, PermanentError, UsageError
from tracer.render.json_text import json_text
from tracer.render.text import escape_untrusted

_VALUED = ("--context", "--agents-in", "--node")

_EXAMPLES = """\
examples:
  kubectl zombies                          parents of zombies, node by node
  kubectl zombies scan --by pod -n shop    options after the command are those of `tracer`
  kubectl zombies --node worker-1 explain 4711
  kubectl zombies --follow                 live, from every node
  kubectl zombies scan -o json | jq length one array for the whole cluster
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are UsageErrors: one line with the remedy."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the plugin's own options, which come before the command."""
    parser = _Parser(
        prog="kubectl zombies",
        description="Run a tracer command on the cluster's nodes, through the agents there.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--context", metavar="NAME", help="the context of the kubeconfig to use")
    parser.add_argument(
        "--agents-in",
        default="zombie-tracer",
        metavar="NAMESPACE",
        help="the namespace of the agents (default zombie-tracer)",
    )
    parser.add_argument(
        "--node", action="append", metavar="NAME", help="only on this node (repeatable)"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="a tracer command with its options (default scan)"
    )
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run the plugin; return its exit status, the highest of the nodes'.

    Raises:
        PermanentError: there is no kubectl, or no agent.
        UsageError: the command cannot be run on several nodes.
    """
    own, command = _split(arguments)
    if command[0] == "emulate":
        raise UsageError(
            "`kubectl zombies` does not run emulate: it would leave zombies on every node;"
            " apply one of deploy/examples instead"
        )
    if shutil.which("kubectl") is None:
        raise PermanentError("kubectl is not on the PATH; this is a plugin of kubectl: install it")
    kubectl = Kubectl(own.context, own.agents_in)
    agents = kubectl.agents(own.node)
    if _follows(command):
        # Each of the agent's JSON lines names its node itself.
        return kubectl.stream(agents, command, prefix=not _json_asked_for(command))
    if command[0] == "explain" and len(agents) > 1:
        raise UsageError("a pid belongs to one node: name the node with --node NAME")
    results = kubectl.execute(agents, command)
    if command[0] == "scan" and _json_asked_for(command):
        return _print_merged(results)
    return _print_each(results)


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separate our own options, which come first, from the command."""
    before = _before_command(arguments)
    own = build_parser().parse_args(before)
    rest = list(arguments[len(before) :])
    if rest[:1] == ["--version"] or _follows(rest):
        return own, rest
    # Options without a command would start a second agent in the first one's container.
    return own, ["scan", *rest] if not rest or rest[0].startswith("-") else rest


def _follows(command: Sequence[str]) -> bool:
    """Whether options without a command ask for the live view."""
    return (
        bool(command) and command[0].startswith("-") and not {"-f", "--follow"}.isdisjoint(command)
    )


def _before_command(arguments: Sequence[str]) -> list[str]:
    """Return the plugin's own options, which come first."""
    taken: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        if word in _VALUED:
            taken += arguments[index : index + 2]
            index += 2
        elif word in ("-h", "--help") or word.startswith(tuple(f"{name}=" for name in _VALUED)):
            taken.append(word)
            index += 1
        else:
            break
    return taken


def _json_asked_for(command: Sequence[str]) -> bool:
    pairs = itertools.pairwise(command)
    return not {("-o", "json"), ("--output", "json")}.isdisjoint(pairs) or not {
        "-ojson",
        "-o=json",
        "--output=json",
    }.isdisjoint(command)


def _print_merged(results: Sequence[Result]) -> int:
    """Print the rows of all nodes as one array; each row names its node."""
    merged: list[object] = []
    status = 0
    for result in results:
        status = max(status, result.status)
        rows = rows_of(result.output)
        if rows is None:
            _complain(result.agent, no_rows(result.output, result.errors))
            status = max(status, CANNOT_RUN_STATUS)
        else:
            merged += rows
            _complain(result.agent, result.errors)
    print(json_text(merged, indent=1))
    return status


def _print_each(results: Sequence[Result]) -> int:
    for result in results:
        if len(results) > 1:
            print(f"NODE {escape_untrusted(result.agent.node)}")
        sys.stdout.write(result.output)
        sys.stdout.flush()
        _complain(result.agent, result.errors)
    return max(result.status for result in results)


def _complain(agent: Agent, lines: Sequence[str]) -> None:
    for line in lines:
        print(f"{escape_untrusted(agent.node)}: {line}", file=sys.stderr)
