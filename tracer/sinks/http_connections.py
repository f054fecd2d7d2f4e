"""The HTTP server's connections: one thread for all of them, one request on each.

Every pod that reaches the port may connect, and the kubelet restarts an agent whose probes fail.
So no client may keep a probe waiting: a connection that has no whole request after
REQUEST_SECONDS, or is still open after CONNECTION_SECONDS, is reset. When there are too many,
one is reset for each new one (http_places). A probe's request comes at once and is answered at
once; those that wait for the rest of a request are held apart from those that read an answer.
"""

import fcntl
import os
import select
import socket
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress

from tracer.errors import TEMPORARY_ERRNOS
from tracer.sinks.http_places import Places

WAITING_PLACES = 512
"""Connections without a whole request. Each takes at most 8 KiB, and 32 of the kernel's."""

ANSWERED_PLACES = 256
"""Connections that have not read their answer. Each takes at most 80 KB of the kernel's memory;
the text of /metrics is shared."""

PLACES_PER_ADDRESS = 16
"""Of each kind, for one client's address."""

REQUEST_SECONDS = 5.0
"""From the accept to the end of the request, however the client sends it."""

CONNECTION_SECONDS = 10.0
"""From the accept until the client has read its answer."""

REQUEST_BYTES = 8 * 1024
"""Of a request with all its headers."""

_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)

_ACCEPTS = 64
"""In a row, before the connections that are open get their turn."""

_PAUSE_SECONDS = 0.1
"""Between two attempts to accept when descriptors or memory have run out."""

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close() discards what was not sent. The kernel would otherwise keep it for
minutes, for a client that asks, closes its side and does not read."""

Answer = Callable[[bytes], bytes]
"""From a whole request to a whole answer, both as sent. Must not raise, and must not wait."""


class _Connection:
    """A connection: its request is read, its answer is written, the client closes it."""

    def __init__(self, accepted: socket.socket, address: str) -> None:
        self.socket = accepted
        self.address = address
        self.opened = time.monotonic()
        self.request = bytearray()
        self.answer: memoryview | None = None

    @property
    def deadline(self) -> float:
        """When to reset it, by time.monotonic()."""
        limit = REQUEST_SECONDS if self.answer is None else CONNECTION_SECONDS
        return self.opened + limit


class Connections:
    """Serves a listening socket until stop(), in the thread that calls serve().

    Args:
        listener: non-blocking; closed when serve() returns.
        answer: makes the answers.
    """

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        self._listener = listener
        self._answer = answer
        # By descriptor, the oldest first.
        self._open: dict[int, _Connection] = {}
        self._waiting: Places[_Connection] = Places(WAITING_PLACES, PLACES_PER_ADDRESS)
        self._answered: Places[_Connection] = Places(ANSWERED_PLACES, PLACES_PER_ADDRESS)
        self._stopping = False
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.epoll()
        self._poll.register(self._wake, select.EPOLLIN)
        self._poll.register(listener, select.EPOLLIN)
        self._paused_until: float | None = None

    def stop(self) -> None:
        """Make serve() return. For any thread, once."""
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def serve(self) -> None:
        """Serve. Sleeps until something happens: an idle server does not wake up."""
        try:
            while not self._stopping:
                try:
                    self._serve_once()
                except OSError:
                    # Out of memory in a system call: what it was for is tried again.
                    time.sleep(_PAUSE_SECONDS)
        finally:
            for connection in list(self._open.values()):
                self._reset(connection)
            self._listener.close()
            self._poll.close()
            os.close(self._wake)

    def _serve_once(self) -> None:
        for descriptor, _ in self._poll.poll(self._timeout_seconds()):
            if descriptor == self._listener.fileno():
                self._accept()
            # A connection may have been reset since poll() returned.
            elif (connection := self._open.get(descriptor)) is not None:
                self._proceed(connection)
        now = time.monotonic()
        for connection in [each for each in self._open.values() if each.deadline <= now]:
            self._reset(connection)
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            self._poll.modify(self._listener, select.EPOLLIN)

    def _timeout_seconds(self) -> float | None:
        deadlines = [each.deadline for each in self._open.values()]
        if self._paused_until is not None:
            deadlines.append(self._paused_until)
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                accepted, where = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in TEMPORARY_ERRNOS:
                    self._accept_later()
                    return
                continue  # the client has gone already
            self._begin(accepted, where[0])

    def _accept_later(self) -> None:
        """Wait: descriptors or memory have run out, and the listener would stay readable."""
        if self._open:
            self._reset(next(iter(self._open.values())))
        self._paused_until = time.monotonic() + _PAUSE_SECONDS
        self._poll.modify(self._listener, 0)

    def _begin(self, accepted: socket.socket, address: str) -> None:
        accepted.settimeout(0)
        connection = _Connection(accepted, address)
        self._open[accepted.fileno()] = connection
        lost = self._waiting.take(connection, address)
        if lost is not None:
            # Its request may have come in the meantime.
            self._proceed(lost)
            if lost.answer is None:
                self._reset(lost)
        try:
            self._poll.register(accepted, select.EPOLLIN)
        except OSError:
            self._reset(connection)
            return
        # A probe's request is usually here already, and needs no turn of its own.
        self._proceed(connection)

    def _proceed(self, connection: _Connection) -> None:
        try:
            if connection.answer is None:
                self._read(connection)
            elif connection.answer:
                self._write(connection, connection.answer)
            else:
                self._finish(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._reset(connection)

    def _read(self, connection: _Connection) -> None:
        request = connection.request
        received = connection.socket.recv(REQUEST_BYTES - len(request))
        request += received
        if not received:
            self._reset(connection)
        elif b"\r\n\r\n" in request or b"\n\n" in request:
            self._begin_answer(connection, self._answer(bytes(request)))
        elif len(request) == REQUEST_BYTES:
            self._begin_answer(connection, _TOO_LONG)

    def _begin_answer(self, connection: _Connection, answer: bytes) -> None:
        self._waiting.leave(connection)
        lost = self._answered.take(connection, connection.address)
        if lost is not None:
            self._reset(lost)
        connection.request.clear()
        self._write(connection, memoryview(answer))

    def _write(self, connection: _Connection, answer: memoryview) -> None:
        connection.answer = answer[connection.socket.send(answer) :]
        if connection.answer:
            self._poll.modify(connection.socket, select.EPOLLOUT)
        else:
            connection.socket.shutdown(socket.SHUT_WR)
            self._poll.modify(connection.socket, select.EPOLLIN)

    def _finish(self, connection: _Connection) -> None:
        """Close: the client has closed its side, or sends more than a request.

        One that closed its side before it read the answer keeps its place until its deadline.
        """
        unsent = struct.pack("i", 0)
        unsent = fcntl.ioctl(connection.socket, termios.TIOCOUTQ, unsent)
        # The end of the stream counts as one byte.
        if struct.unpack("i", unsent)[0] <= 1:
            self._reset(connection)
        else:
            self._poll.unregister(connection.socket)

    def _reset(self, connection: _Connection) -> None:
        self._open.pop(connection.socket.fileno(), None)
        self._waiting.leave(connection)
        self._answered.leave(connection)
        with suppress(OSError):
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.socket.close()
