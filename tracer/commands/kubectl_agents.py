"""The agents in a cluster, reached with kubectl: which there are, and commands run in them."""

import contextlib
import select
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, NamedTuple

from tracer.commands.kubectl_answers import Agent, agents_of, one_line, user_lines
from tracer.errors import CANNOT_RUN_STATUS, PermanentError, UsageError
from tracer.render.text import escape_untrusted

LABEL = "app.kubernetes.io/name=zombie-tracer"
CONTAINER = "tracer"
_ENDS = "--exit-with-stdin"
_LASTING = ("scan", "explain")
_AT_ONCE = 16
_GET_SECONDS = 30
"""For the list of the agents."""
_EXEC_SECONDS = 60
"""For a command on one node; a scan of 300,000 zombies from /proc takes 5 s."""
_HEARTBEAT_SECONDS = 15.0
"""A command in the container ends when it reads nothing for four times as long."""


class Result(NamedTuple):
    """What a command printed on one node, and its exit status.

    Attributes:
        agent: which.
        status: of the command, or 3 when it could not be run.
        output: its stdout.
        errors: the lines of its stderr for the user, escaped.
    """

    agent: Agent
    status: int
    output: str
    errors: list[str]


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
            PermanentError: kubectl failed, hangs or printed something else, or no agent runs in
                the namespace.
            UsageError: no agent runs on one of these nodes.
        """
        agents = agents_of(self._get_pods())
        if not agents:
            raise PermanentError(
                f"no agent runs in namespace {self._namespace}: install it with `kubectl apply -k"
                " deploy/`, or name its namespace with --agents-in"
            )
        if nodes is None:
            return agents
        missing = set(nodes) - {agent.node for agent in agents}
        if missing:
            shown = escape_untrusted(", ".join(sorted(missing)))
            raise UsageError(
                f"no agent runs on node {shown}; `kubectl get pods -A -o wide"
                f" -l {LABEL}` lists the agents"
            )
        return [agent for agent in agents if agent.node in nodes]

    def _get_pods(self) -> str:
        try:
            done = subprocess.run(
                [*self._base, "get", "pods", "-l", LABEL, "-o", "json"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_GET_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PermanentError(
                f"kubectl get pods did not answer within {_GET_SECONDS} s; check with"
                " `kubectl cluster-info` that the cluster can be reached"
            ) from None
        except OSError as error:
            raise _not_started(error) from error
        if done.returncode:
            raise PermanentError(f"kubectl get pods failed: {one_line(done.stderr)}")
        return done.stdout

    def execute(self, agents: Sequence[Agent], command: Sequence[str]) -> list[Result]:
        """Run a tracer command in each agent's container; return the results in their order."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda agent: self._execute(agent, command), agents))

    def _execute(self, agent: Agent, command: Sequence[str]) -> Result:
        try:
            process = subprocess.Popen(
                self._exec(agent, command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as error:
            return Result(agent, CANNOT_RUN_STATUS, "", [str(_not_started(error))])
        stdin, process.stdin = process.stdin, None  # communicate() would close it
        with process, _heartbeat([stdin]):
            try:
                output, errors = process.communicate(timeout=_EXEC_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                unanswered = (
                    f"no answer within {_EXEC_SECONDS} s; check with `kubectl -n"
                    f" {self._namespace} logs {agent.pod}` that the agent works"
                )
                return Result(agent, CANNOT_RUN_STATUS, "", [unanswered])
            except BaseException:
                process.terminate()
                raise
        return Result(agent, process.returncode, output, user_lines(errors))

    def _exec(self, agent: Agent, command: Sequence[str]) -> list[str]:
        """Return the kubectl command; what it runs ends with its stdin, as _heartbeat() wants."""
        inside = ["exec", agent.pod, "--stdin", "--container", CONTAINER, "--", "tracer"]
        lasts = command[0] in _LASTING or (command[0].startswith("-") and command[0] != "--version")
        return [*self._base, *inside, *command, *([_ENDS] if lasts else [])]

    def stream(self, agents: Sequence[Agent], command: Sequence[str], *, prefix: bool) -> int:
        """Print every agent's lines as they come; return the status.

        Args:
            agents: whose.
            command: options of the live view.
            prefix: begin each line with the node's name.
        """
        running = self._start(agents, command)
        width = max(len(escape_untrusted(agent.node)) for agent in agents) if prefix else 0
        printer = _LinePrinter(width, running)
        threads = [
            threading.Thread(target=copy, args=(agent, pipe), daemon=True)
            for agent, process in zip(agents, running, strict=True)
            for copy, pipe in (
                (printer.copy, process.stdout),
                (printer.copy_errors, process.stderr),
            )
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

    def _start(
        self, agents: Sequence[Agent], command: Sequence[str]
    ) -> list["subprocess.Popen[str]"]:
        running: list[subprocess.Popen[str]] = []
        try:
            running.extend(
                subprocess.Popen(
                    self._exec(agent, command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
                for agent in agents
            )
        except OSError as error:
            for process in running:
                process.terminate()
            raise _not_started(error) from error
        return running


def _not_started(error: OSError) -> PermanentError:
    return PermanentError(
        f"kubectl cannot be started: {error.strerror}; check the program that `which kubectl` names"
    )


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
    """Prints lines from several threads, each line whole.

    Args:
        width: of the column with the node's name; 0 for none.
        running: ended when nobody reads any more.
    """

    def __init__(self, width: int, running: Sequence["subprocess.Popen[str]"]) -> None:
        self._width = width
        self._running = running
        self._lock = threading.Lock()

    def copy(self, agent: Agent, stream: IO[str]) -> None:
        """Print each line of a command's stdout."""
        node = escape_untrusted(agent.node)
        head = f"{node:<{self._width}}  " if self._width else ""
        for line in stream:
            if not self._print(head + line, sys.stdout):
                return

    def copy_errors(self, agent: Agent, stream: IO[str]) -> None:
        """Print each line of a command's stderr that its user needs, after the node's name."""
        node = escape_untrusted(agent.node)
        for line in stream:
            for shown in user_lines(line):
                self._print(f"{node}: {shown}\n", sys.stderr)

    def _print(self, line: str, to: IO[str]) -> bool:
        with self._lock:
            try:
                to.write(line)
                to.flush()
            except BrokenPipeError:
                # The reader is gone; stream() returns when all processes have ended.
                for process in self._running:
                    process.terminate()
                return False
        return True
