"""The agents in a cluster, reached with kubectl: which there are, and commands run in them."""

import contextlib
import json
import select
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, NamedTuple

from tracer.errors import PermanentError, UsageError
from tracer.render.text import escape_untrusted

LABEL = "app.kubernetes.io/name=zombie-tracer"
CONTAINER = "tracer"
_ENDS = "--exit-with-stdin"
_LASTING = ("scan", "explain")
_AT_ONCE = 16
_TIMEOUT_SECONDS = 120
_HEARTBEAT_SECONDS = 15.0
"""A command in the container ends when it reads nothing for four times as long."""


class Agent(NamedTuple):
    """One agent's pod, by its node and its name."""

    node: str
    pod: str


class Result(NamedTuple):
    """What a command printed on one node, and its exit status."""

    agent: Agent
    status: int
    output: str
    errors: str


class Kubectl:
    """kubectl, with the user's own context, credentials and permissions.

    Args:
        context: of the kubeconfig; None for the current one.
        namespace: in which the agents run.
    """

    def __init__(self, context: str | None, namespace: str) -> None:
        self._namespace = namespace
        self._base = ["kubectl"] + ([f"--context={context}"] if context else [])
        self._base += ["--namespace", namespace]

    def agents(self, nodes: Collection[str] | None) -> list[Agent]:
        """Return the running agents on these nodes; on all nodes for None.

        Raises:
            PermanentError: kubectl failed, or no agent runs in the namespace.
            UsageError: no agent runs on one of these nodes.
        """
        agents = sorted(
            Agent(pod["spec"].get("nodeName", ""), pod["metadata"]["name"])
            for pod in json.loads(self._get_pods())["items"]
            if pod.get("status", {}).get("phase") == "Running"
        )
        if not agents:
            raise PermanentError(
                f"no agent runs in namespace {self._namespace}: install it with `kubectl apply -k"
                " deploy/`, or name its namespace with --agents-in"
            )
        if nodes is None:
            return agents
        missing = set(nodes) - {agent.node for agent in agents}
        if missing:
            raise UsageError(
                f"no agent runs on node {', '.join(sorted(missing))}; `kubectl get pods -A -o wide"
                f" -l {LABEL}` lists the agents"
            )
        return [agent for agent in agents if agent.node in nodes]

    def _get_pods(self) -> str:
        try:
            done = subprocess.run(
                [*self._base, "get", "pods", "-l", LABEL, "-o", "json"],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PermanentError(
                f"kubectl get pods did not answer within {_TIMEOUT_SECONDS} s; check with"
                " `kubectl cluster-info` that the cluster can be reached"
            ) from None
        if done.returncode:
            raise PermanentError(f"kubectl get pods failed: {done.stderr.strip()}")
        return done.stdout

    def execute(self, agents: Sequence[Agent], command: Sequence[str]) -> list[Result]:
        """Run a tracer command in each agent's container; return the results in their order."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda agent: self._execute(agent, command), agents))

    def _execute(self, agent: Agent, command: Sequence[str]) -> Result:
        process = subprocess.Popen(
            self._exec(agent, command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        stdin, process.stdin = process.stdin, None  # communicate() would close it
        with process, _heartbeat([stdin]):
            try:
                output, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                return Result(agent, 3, "", f"no answer within {_TIMEOUT_SECONDS} s")
            except BaseException:
                process.terminate()
                raise
        return Result(agent, process.returncode, output, errors)

    def _exec(self, agent: Agent, command: Sequence[str]) -> list[str]:
        """Return the kubectl command; what it runs ends with its stdin, as _heartbeat() wants."""
        inside = ["exec", agent.pod, "--stdin", "--container", CONTAINER, "--", "tracer"]
        lasts = command[0] in _LASTING or (command[0].startswith("-") and command[0] != "--version")
        return [*self._base, *inside, *command, *([_ENDS] if lasts else [])]

    def stream(self, agents: Sequence[Agent], command: Sequence[str]) -> int:
        """Print every agent's lines as they come, after its node's name; return the status."""
        running = [
            subprocess.Popen(
                self._exec(agent, command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            for agent in agents
        ]
        printer = _LinePrinter(max(len(agent.node) for agent in agents), running)
        threads = [
            threading.Thread(target=printer.copy, args=(agent, process.stdout), daemon=True)
            for agent, process in zip(agents, running, strict=True)
        ]
        for thread in threads:
            thread.start()
        threading.Thread(target=_end_with_reader, args=(running,), daemon=True).start()
        try:
            with _heartbeat([process.stdin for process in running]):
                status = max(process.wait() for process in running)
            for thread in threads:
                thread.join()  # their last lines
        finally:
            for process in running:
                process.terminate()
        sys.stdout.flush()
        # A process that a signal ended has a negative status.
        return max(status, 0)


@contextlib.contextmanager
def _heartbeat(streams: Sequence["IO[str] | None"]) -> Iterator[None]:
    """Write a line to each stream now and then, and close them at the end.

    The commands that read them run in containers, where no signal reaches them: they end
    with their stdin, or when the lines stop coming because the connection is lost.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_HEARTBEAT_SECONDS):
            for stream in streams:
                _write_line(stream)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)
        for stream in streams:
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _write_line(stream: "IO[str] | None") -> None:
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # that command has ended
            stream.write("\n")
            stream.flush()


def _end_with_reader(running: Sequence["subprocess.Popen[str]"]) -> None:
    """End the commands when nobody reads their lines any more (`| head -1`).

    poll() without events reports only that the other end is closed. Without it the next
    line would show that, and on a quiet cluster there is no next line.
    """
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    watch.poll()
    for process in running:
        process.terminate()


class _LinePrinter:
    """Prints lines from several threads, each line whole."""

    def __init__(self, width: int, running: Sequence["subprocess.Popen[str]"]) -> None:
        self._width = width
        self._running = running
        self._lock = threading.Lock()

    def copy(self, agent: Agent, stream: IO[str]) -> None:
        """Print each line of a stream after the node's name."""
        for line in stream:
            with self._lock:
                try:
                    node = escape_untrusted(agent.node)
                    sys.stdout.write(f"{node:<{self._width}}  {line}")
                    sys.stdout.flush()
                except BrokenPipeError:
                    # The reader is gone; stream() returns when all processes have ended.
                    for process in self._running:
                        process.terminate()
                    return
