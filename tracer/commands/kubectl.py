"""`kubectl zombies`: the commands of `tracer`, run by the agents of the cluster's nodes.

kubectl does the talking: its contexts, credentials and permissions are the user's own.
"""

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, NamedTuple

from tracer.errors import PermanentError, UsageError
from tracer.render.text import escape_untrusted

LABEL = "app.kubernetes.io/name=zombie-tracer"
CONTAINER = "tracer"
_AT_ONCE = 16
_TIMEOUT_SECONDS = 120

_EXAMPLES = """\
examples:
  kubectl zombies                          who leaves zombies, node by node
  kubectl zombies scan --by pod -n shop    what follows is given to `tracer`
  kubectl zombies --node worker-1 explain 4711
  kubectl zombies --follow                 live, from every node
  kubectl zombies scan -o json | jq length one array for the whole cluster
"""


class Agent(NamedTuple):
    """One agent's pod."""

    node: str
    pod: str


class Result(NamedTuple):
    """What a command printed on one node."""

    agent: Agent
    status: int
    output: str
    errors: str


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of what is not given to `tracer`."""
    parser = argparse.ArgumentParser(
        prog="kubectl zombies",
        description="Run a tracer command on the cluster's nodes, through the agents there.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--context", help="of kubectl's configuration")
    parser.add_argument("--agents-in", default="zombie-tracer", metavar="NAMESPACE")
    parser.add_argument("--node", action="append", metavar="NAME", help="only there; repeatable")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="default: scan")
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run the plugin; return its exit status, the highest of the nodes'.

    Raises:
        PermanentError: there is no kubectl, or no agent.
        UsageError: the command cannot be run on several nodes.
    """
    own, command = _split(arguments)
    if shutil.which("kubectl") is None:
        raise PermanentError("kubectl is not on the PATH: this is a plugin of it")
    base = ["kubectl"] + ([f"--context={own.context}"] if own.context else [])
    base += ["--namespace", own.agents_in]
    agents = _agents(base, own)
    if command[0] == "emulate":
        raise UsageError("zombies are not made on a cluster's nodes; see deploy/examples")
    if _follows(command):
        return _stream(base, agents, command)
    if command[0] == "explain" and len(agents) > 1:
        raise UsageError("a pid means something on one node only: say which with --node NAME")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        results = list(pool.map(lambda agent: _execute(base, agent, command), agents))
    if _wants_json(command):
        return _print_merged(results)
    return _print_each(results)


def _split(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Separate our own options, which come first, from the command."""
    own = build_parser().parse_args(_before_command(arguments))
    rest = list(arguments[len(_before_command(arguments)) :])
    if rest[:1] == ["--version"] or _follows(rest):
        return own, rest
    # Options alone would start a second agent in the first one's container.
    return own, ["scan", *rest] if not rest or rest[0].startswith("-") else rest


def _follows(command: Sequence[str]) -> bool:
    """Whether options alone ask for the live view; those of a command come behind it."""
    return (
        bool(command) and command[0].startswith("-") and not {"-f", "--follow"}.isdisjoint(command)
    )


def _before_command(arguments: Sequence[str]) -> list[str]:
    taken: list[str] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        if word in ("--context", "--agents-in", "--node"):
            taken += arguments[index : index + 2]
            index += 2
        elif word in ("-h", "--help") or word.startswith(("--context=", "--agents-in=", "--node=")):
            taken.append(word)
            index += 1
        else:
            break
    return taken


def _agents(base: Sequence[str], own: argparse.Namespace) -> list[Agent]:
    """Ask which nodes have an agent that runs."""
    try:
        asked = subprocess.run(
            [*base, "get", "pods", "-l", LABEL, "-o", "json"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PermanentError(
            f"kubectl get pods gave no answer within {_TIMEOUT_SECONDS} s: is the cluster reached?"
        ) from None
    if asked.returncode:
        raise PermanentError(f"kubectl get pods failed: {asked.stderr.strip()}")
    agents = sorted(
        Agent(pod["spec"].get("nodeName", ""), pod["metadata"]["name"])
        for pod in json.loads(asked.stdout)["items"]
        if pod.get("status", {}).get("phase") == "Running"
    )
    if not agents:
        raise PermanentError(
            f"no agent runs in namespace {own.agents_in}: install it with `kubectl apply -k"
            " deploy/`, or name its namespace with --agents-in"
        )
    if own.node is None:
        return agents
    missing = set(own.node) - {agent.node for agent in agents}
    if missing:
        raise UsageError(f"no agent runs on {', '.join(sorted(missing))}")
    return [agent for agent in agents if agent.node in own.node]


def _exec(base: Sequence[str], agent: Agent, command: Sequence[str]) -> list[str]:
    return [*base, "exec", agent.pod, "--container", CONTAINER, "--", "tracer", *command]


def _execute(base: Sequence[str], agent: Agent, command: Sequence[str]) -> Result:
    try:
        done = subprocess.run(
            _exec(base, agent, command),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(agent, 3, "", f"no answer within {_TIMEOUT_SECONDS} s")
    return Result(agent, done.returncode, done.stdout, done.stderr)


def _wants_json(command: Sequence[str]) -> bool:
    pairs = itertools.pairwise(command)
    return command[0] == "scan" and (
        ("-o", "json") in pairs or not {"-ojson", "--output=json"}.isdisjoint(command)
    )


def _print_merged(results: Sequence[Result]) -> int:
    """Print one array of the zombies of all nodes; each names its own."""
    merged: list[object] = []
    status = 0
    for result in results:
        status = max(status, result.status)
        try:
            merged += json.loads(result.output)
        except ValueError:
            _complain(result)
            status = max(status, 3)
    print(json.dumps(merged, ensure_ascii=False, indent=1))
    return status


def _print_each(results: Sequence[Result]) -> int:
    for result in results:
        if len(results) > 1:
            print(f"NODE {escape_untrusted(result.agent.node)}")
        sys.stdout.write(result.output)
        if result.errors:
            _complain(result)
    return max(result.status for result in results)


def _complain(result: Result) -> None:
    sys.stdout.flush()
    for line in result.errors.splitlines():
        print(f"{escape_untrusted(result.agent.node)}: {escape_untrusted(line)}", file=sys.stderr)


def _stream(base: Sequence[str], agents: Sequence[Agent], command: Sequence[str]) -> int:
    """Show all nodes' lines as they come, each with its node's name before it."""
    lock = threading.Lock()
    width = max(len(agent.node) for agent in agents)

    def copy(agent: Agent, stream: IO[str]) -> None:
        for line in stream:
            with lock:
                try:
                    sys.stdout.write(f"{escape_untrusted(agent.node):<{width}}  {line}")
                    sys.stdout.flush()
                except BrokenPipeError:
                    # Whoever read us has enough; run() ends when all of them have.
                    for process in running:
                        process.terminate()
                    return

    running = [
        subprocess.Popen(
            _exec(base, agent, command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for agent in agents
    ]
    threads = [
        threading.Thread(target=copy, args=(agent, process.stdout), daemon=True)
        for agent, process in zip(agents, running, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        status = max(process.wait() for process in running)
        for thread in threads:
            thread.join()  # what they said last
    finally:
        for process in running:
            process.terminate()
    sys.stdout.flush()
    # One that a signal ended has a negative status.
    return max(status, 0)
