"""The thread that serves the agent's socket: it accepts clients, and moves bytes.

The engine's thread never waits for it. Everything is bounded: clients, requests, output.
"""

import logging
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from tracer.agent.serve import listener
from tracer.agent.serve.client import TOO_SLOW, Client, ClientGone
from tracer.agent.serve.request import BadRequestError, OtherVersionError, parse_request
from tracer.agent.serve.worker import Handler, Worker
from tracer.errors import CANNOT_RUN_STATUS, internal_error

MOST_CLIENTS = 32
REQUEST_SECONDS = 5.0
STALLED_SECONDS = 10.0
"""A client that takes nothing for so long is disconnected, if it follows or others wait."""
PAUSED_SECONDS = 600.0
"""Else so long: somebody may be reading a long scan in a pager."""
LAST_WORDS_SECONDS = 2.0
"""How long a disconnected client has for reading why."""
_ACCEPT_AGAIN_SECONDS = 1.0

_FULL = (
    f"tracer: error: the agent serves {MOST_CLIENTS} clients already, which is the most it"
    " serves; end one of them (`tracer --follow`) and run the command again\n"
)
_log = logging.getLogger(__name__)


class Server:
    """Serves clients from its start() to its close().

    Args:
        folder: the state folder, whose lock the caller holds.
        handle: runs a command; called in a thread of its own.
    """

    def __init__(self, folder: Path, handle: Handler) -> None:
        self._folder = folder
        self._worker = Worker(handle)
        self._listener: socket.socket | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = Thread(target=self._run, name="clients", daemon=True)
        self._clients: dict[int, Client] = {}
        self._given_up: dict[Client, float] = {}
        self._accept_after = 0.0
        self._closes_at: float | None = None

    def start(self) -> None:
        """Listen. Where that is impossible, say so once: the agent works without clients."""
        try:
            self._listener = listener.listen(self._folder)
        except OSError as error:
            _log.warning(
                "cannot listen on %s (%s): scan, explain and --follow trace by themselves, and so"
                " know less than this agent; give another folder with --state-dir",
                self._folder / "agent.sock",
                error.strerror,
            )
            return
        self._worker.start()
        self._thread.start()

    def close(self) -> None:
        """Let clients read their last lines for a moment.

        The socket's file stays, as the lock of the folder may have passed to the next agent.
        """
        self._closes_at = time.monotonic() + LAST_WORDS_SECONDS
        self.wake()
        self._worker.stop(LAST_WORDS_SECONDS)
        self.wake()
        if self._thread.is_alive():
            self._thread.join(2 * LAST_WORDS_SECONDS)
        if self._listener is not None:
            self._listener.close()

    def wake(self) -> None:
        """Have the thread look after its clients. Any thread may call it."""
        os.eventfd_write(self._wake, 1)

    # --- the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_over():
            try:
                self._round()
            except Exception as error:  # noqa: BLE001 - a bug here must not end the agent
                _log.warning("serving clients failed and is tried again: %s", internal_error(error))
                time.sleep(_ACCEPT_AGAIN_SECONDS)
        for client in list(self._clients.values()):
            self._drop(client)

    def _is_over(self) -> bool:
        """Return whether close() was called and there is nothing left to send."""
        if self._closes_at is None:
            return False
        unsent = any(client.waiting_bytes() for client in self._clients.values())
        return time.monotonic() >= self._closes_at or not (unsent or self._worker.is_working())

    def _round(self) -> None:
        ready = self._poll()
        for descriptor, events in ready.items():
            client = self._clients.get(descriptor)
            if client is not None:
                self._attend(client, self._move, client, events)
        for client in list(self._clients.values()):
            if client.on_room is not None and not client.ending:
                self._attend(client, client.on_room)
        self._give_up_late_ones()
        self._worker.refuse_late()
        if self._listener is not None and self._listener.fileno() in ready:
            self._accept(self._listener)

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        now = time.monotonic()
        if self._listener is not None and self._closes_at is None and now >= self._accept_after:
            poll.register(self._listener, select.POLLIN)
        for client in self._clients.values():
            poll.register(client, client.events())
        deadlines = [self._deadline(client) for client in self._clients.values()]
        deadlines += [self._worker.next_due(), self._accept_after or None, self._closes_at]
        soonest = min((due for due in deadlines if due is not None), default=None)
        wait = None if soonest is None else max(0, int((soonest - now) * 1000) + 1)
        ready = dict(poll.poll(wait))
        if self._wake in ready:
            os.eventfd_read(self._wake)
        return ready

    def _attend(self, client: Client, action: Callable[..., None], *arguments: object) -> None:
        """Do something for a client; drop it when it is gone or sends nonsense."""
        try:
            action(*arguments)
        except ClientGone:
            self._drop(client)
        except OtherVersionError as error:
            client.end(CANNOT_RUN_STATUS, error=f"tracer: {error}\n", other_version=True)
        except BadRequestError as error:
            client.end(CANNOT_RUN_STATUS, error=f"tracer: error: {error}\n")

    def _move(self, client: Client, events: int) -> None:
        if events & select.POLLOUT:
            client.write()
        if events & ~select.POLLOUT:
            line = client.read()
            if line is not None and not client.ending:
                self._worker.add(client, parse_request(line))

    def _accept(self, listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:  # no descriptor left: the client waits in the backlog
            _log.debug("cannot accept a client: %s", error)
            self._accept_after = time.monotonic() + _ACCEPT_AGAIN_SECONDS
            return
        self._accept_after = 0.0
        client = Client(connection, self.wake)
        self._clients[client.fileno()] = client
        if len(self._clients) > MOST_CLIENTS:
            client.end(CANNOT_RUN_STATUS, error=_FULL)
            self._attend(client, client.write)
            self._drop(client)

    def _deadline(self, client: Client) -> float | None:
        """Return when to give a client up; None while all is well."""
        if client in self._given_up:
            return self._given_up[client]
        if not client.asked:
            return client.connected + REQUEST_SECONDS
        stalled = client.stalled_since()
        if stalled is None:
            return None
        others = self._worker.waiting() or len(self._clients) >= MOST_CLIENTS
        urgent = client.on_room is not None or others
        return stalled + (STALLED_SECONDS if urgent else PAUSED_SECONDS)

    def _give_up_late_ones(self) -> None:
        now = time.monotonic()
        for client in list(self._clients.values()):
            deadline = self._deadline(client)
            if deadline is None or now < deadline:
                continue
            if client in self._given_up or client.ending:
                self._drop(client)
                continue
            self._given_up[client] = now + LAST_WORDS_SECONDS
            client.end(CANNOT_RUN_STATUS, error=TOO_SLOW if client.asked else _SILENT)

    def _drop(self, client: Client) -> None:
        self._given_up.pop(client, None)
        self._clients = {
            descriptor: other for descriptor, other in self._clients.items() if other is not client
        }
        client.close()


_SILENT = f"tracer: error: no request came within {REQUEST_SECONDS:g} s\n"
