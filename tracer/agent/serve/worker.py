"""The one thread that runs clients' commands, one after the other."""

import logging
import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread
from typing import NamedTuple

from tracer.agent.serve.client import Client, ClientGone
from tracer.agent.serve.request import Request
from tracer.errors import CANNOT_RUN_STATUS, internal_error

BUSY_SECONDS = 30.0
"""A request that waits for its turn for so long is refused."""

BUSY = (
    "tracer: error: the agent is busy with other commands"
    f" (waited {BUSY_SECONDS:g} s); run the command again in a moment\n"
)

Handler = Callable[[Request, Client], int | None]
"""Runs a command and returns its exit status, or None when it has no end: the live view.

It may block for a slow client, and raises ClientGone when that has disconnected.
"""

_log = logging.getLogger(__name__)


class _Job(NamedTuple):
    client: Client
    request: Request
    since: float


class Worker:
    """Runs commands for clients, so that the thread which serves the sockets never waits.

    Args:
        handle: runs a command.
    """

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._jobs: deque[_Job] = deque()
        self._changed = Condition()
        self._stopping = False
        self._thread = Thread(target=self._run, name="commands", daemon=True)

    def start(self) -> None:
        """Start the thread; later there may be no pid left for one."""
        self._thread.start()

    def add(self, client: Client, request: Request) -> None:
        """Queue a command. As many wait as there are clients."""
        with self._changed:
            self._jobs.append(_Job(client, request, time.monotonic()))
            self._changed.notify_all()

    def waiting(self) -> int:
        """Return how many commands wait for their turn."""
        return len(self._jobs)

    def is_working(self) -> bool:
        """Return whether a command may still write."""
        return self._thread.is_alive()

    def next_due(self) -> float | None:
        """Return when refuse_late() is to be called, on the monotonic clock; None for never."""
        with self._changed:
            return self._jobs[0].since + BUSY_SECONDS if self._jobs else None

    def refuse_late(self) -> None:
        """Refuse the commands that have waited too long."""
        now = time.monotonic()
        with self._changed:
            late = [job for job in self._jobs if now - job.since >= BUSY_SECONDS]
            for job in late:
                self._jobs.remove(job)
        for job in late:
            job.client.end(CANNOT_RUN_STATUS, error=BUSY)

    def stop(self, timeout_seconds: float) -> None:
        """Start no further command, and wait for the one that runs."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            if job.client.gone:
                continue
            try:
                status = self._handle(job.request, job.client)
                if status is not None:
                    job.client.end(status)
            except ClientGone:
                continue
            except Exception as error:  # noqa: BLE001 - a command that fails must not end the agent
                failure = internal_error(error)
                _log.warning("a client's %s failed: %s", job.request.command, failure)
                job.client.end(CANNOT_RUN_STATUS, error=f"tracer: error: {failure}\n")

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._jobs and not self._stopping:
                self._changed.wait()
            return None if self._stopping else self._jobs.popleft()
