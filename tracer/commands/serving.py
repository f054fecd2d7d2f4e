"""Runs scan, explain and the live view for clients, with what the running agent knows."""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from tracer import options, protocol
from tracer.agent import build
from tracer.agent.serve.client import Client
from tracer.agent.serve.live import Followers, LiveClient, View
from tracer.agent.serve.request import Request
from tracer.agent.supervisor import Supervisor
from tracer.commands import explain, follow, scan
from tracer.commands.knowledge import Knowledge
from tracer.commands.live_views import JsonView, TextView
from tracer.commands.parsing import parse
from tracer.commands.saved_facts import SavedFacts
from tracer.errors import CANNOT_RUN_STATUS, USAGE_STATUS, TemporaryError, TracerError, UsageError
from tracer.kubernetes.index import PodIndex
from tracer.model import Child
from tracer.options import Options
from tracer.procfs.fs import ProcFs

_START_SECONDS = 10.0


class Saved(Protocol):
    """What the agent saves, as far as it is shown to clients."""

    def children(self) -> list[Child]:
        """Return the zombies that are saved. Any thread may call it."""


class _ClientOutput:
    """The stdout and stderr of a client."""

    def __init__(self, client: Client, request: Request) -> None:
        self.columns = request.columns
        self.out, self.err = client.out, client.err


class Serving:
    """Runs commands for clients, in a thread of its own, with an agent's source and pods.

    Args:
        chosen: the agent's options.
        sources: its source.
        index: the pods of its node; None without an API server.
        saved: what it has saved about zombies.
        followers: its engine's live views.
    """

    def __init__(
        self,
        chosen: Options,
        *,
        sources: Supervisor,
        index: PodIndex | None,
        saved: Saved,
        followers: Followers,
    ) -> None:
        self._chosen = chosen
        self._sources = sources
        self._index = index
        self._saved = saved
        self._followers = followers
        self._commands: Mapping[str, Callable[[Request, Client], int | None]] = {
            "scan": self._scan,
            "explain": self._explain,
            protocol.FOLLOW: self._follow,
        }

    def handle(self, request: Request, client: Client) -> int | None:
        """Run a command for a client; return its exit status, None when it goes on.

        Raises:
            ClientGone: the client has disconnected.
        """
        try:
            return self._commands[request.command](request, client)
        except TracerError as error:
            text = " ".join(str(error).split())
            client.err(f"tracer: error: {text}\n")
            return USAGE_STATUS if isinstance(error, UsageError) else CANNOT_RUN_STATUS

    def _scan(self, request: Request, client: Client) -> int:
        args = parse(request.arguments, for_client=True)
        view = scan.read_view(args)
        chosen = self._options(args, request, scan.MIN_AGE)
        with self._knowledge() as knowledge:
            return scan.show(view, chosen, knowledge, _ClientOutput(client, request))

    def _explain(self, request: Request, client: Client) -> int:
        args = parse(request.arguments, for_client=True)
        question = explain.read_question(args)
        chosen = self._options(args, request, "0s")
        with self._knowledge() as knowledge:
            return explain.show(question, chosen, knowledge, _ClientOutput(client, request))

    def _follow(self, request: Request, client: Client) -> None:
        args = parse(request.arguments, for_client=True)
        as_json = follow.read_format(args) == "json"
        chosen = self._options(args, request, follow.MIN_AGE)
        if args.metrics_address is not None:
            raise UsageError("--metrics-address is an option of the agent; it serves the metrics")
        view: View = (
            JsonView(chosen, ProcFs(self._chosen.proc_root)) if as_json else TextView(request)
        )
        LiveClient(client, view, chosen.filters).follow(self._followers, chosen.min_age_ns)

    def _options(self, args: argparse.Namespace, request: Request, min_age: str) -> Options:
        """Read the client's options; its node is the agent's."""
        return options.read(
            args,
            min_age=min_age,
            environment=request.environment,
            host_name=lambda: self._chosen.node_name,
        )

    @contextmanager
    def _knowledge(self) -> Iterator[Knowledge]:
        """Collect what the agent knows. What is not thread-safe is made anew for the client.

        Raises:
            TemporaryError: the agent has no source yet.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._sources.running:
            if time.monotonic() > deadline:
                raise TemporaryError(
                    "the agent has attached no source yet; its log says why, run the command"
                    " again when it has"
                )
            time.sleep(0.05)
        proc = ProcFs(self._chosen.proc_root)
        attributor = build.attributor(self._chosen, proc, self._index)
        try:
            yield Knowledge(
                proc,
                self._sources,
                attributor,
                SavedFacts(self._saved.children()),
                of_agent=True,
            )
        finally:
            proc.close()
