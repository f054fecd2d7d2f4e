"""One connected client: what it has sent, and what it has not taken yet."""

import json
import select
import socket
import time
from collections.abc import Callable
from threading import Condition

from tracer import protocol
from tracer.agent.serve.request import BadRequestError

OUTPUT_LIMIT_BYTES = 256 << 10
"""What may wait for a client; whoever writes more waits until it has taken some."""

_TEXT_CHARACTERS = 16 << 10
_READ_BYTES = 16 << 10
_WRITTEN_BYTES = 64 << 10
_LATER_LINE_BYTES = 4096
_MOST_READS = 64

TOO_SLOW = (
    "tracer: error: disconnected: this output was read too slowly, so part of it is missing;"
    " run the command again, and write to a file if the reader may pause\n"
)


class ClientGone(Exception):  # noqa: N818 - not an error: users end their commands
    """The client has disconnected, or was disconnected."""


class Client:
    """A client's connection. The server's thread reads and writes it; any thread adds output.

    Args:
        connection: accepted.
        wake: has the server's thread look after its clients.

    Attributes:
        wake: the same.
        on_gone: called once, in the server's thread, when the connection is closed.
        on_line: takes each line that follows the request.
        on_room: adds output when there is room; the live view does.
    """

    def __init__(self, connection: socket.socket, wake: Callable[[], None]) -> None:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.connected = time.monotonic()
        self.on_gone: Callable[[], None] | None = None
        self.on_line: Callable[[bytes], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self._connection = connection
        self.wake = wake
        self._input = b""
        self._asked = False
        self._changed = Condition()
        self._output = bytearray()
        self._progressed = time.monotonic()
        self._ending = False
        self._gone = False

    # --- any thread ----------------------------------------------------------------------

    @property
    def ending(self) -> bool:
        """Whether the last line is queued."""
        return self._ending

    @property
    def gone(self) -> bool:
        """Whether nobody reads any more."""
        return self._gone

    def out(self, text: str, *, wait: bool = True) -> None:
        """Have the client write to its stdout, as put() does."""
        self._say("out", text, wait=wait)

    def err(self, text: str) -> None:
        """Have the client write to its stderr, as put() does."""
        self._say("err", text, wait=True)

    def _say(self, name: str, text: str, *, wait: bool) -> None:
        for start in range(0, len(text), _TEXT_CHARACTERS):
            self.put({name: text[start : start + _TEXT_CHARACTERS]}, wait=wait)

    def put(self, answer: dict[str, object], *, wait: bool = True) -> None:
        """Queue a line for the client.

        Args:
            answer: the line.
            wait: until there is room; must be False in the server's thread.

        Raises:
            ClientGone: nobody reads any more.
        """
        line = json.dumps(answer).encode() + b"\n"
        with self._changed:
            while wait and len(self._output) > OUTPUT_LIMIT_BYTES and not self._over():
                self._changed.wait()
            if self._over():
                raise ClientGone
            if not self._output:
                self._progressed = time.monotonic()
            self._output += line
        self.wake()

    def end(self, status: int, *, error: str | None = None, other_version: bool = False) -> None:
        """Queue the last lines, and disconnect when they are sent. Never blocks."""
        last: dict[str, object] = {"exit": status}
        if other_version:
            last["other_version"] = True
        lines = [{"err": error}, last] if error else [last]
        with self._changed:
            if self._over():
                return
            if error == TOO_SLOW:
                self._forget_unsent()
            self._output += b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            self._ending = True
            self._changed.notify_all()
        self.wake()

    def _over(self) -> bool:
        return self._gone or self._ending

    def _forget_unsent(self) -> None:
        """Drop the lines that the client has not taken; of the first one it may have a part."""
        del self._output[self._output.find(b"\n") + 1 :]

    # --- the server's thread -------------------------------------------------------------

    def fileno(self) -> int:
        """Return the connection's descriptor."""
        return self._connection.fileno()

    @property
    def asked(self) -> bool:
        """Whether the request has come."""
        return self._asked

    def events(self) -> int:
        """Return what to wait for with poll(2)."""
        return select.POLLIN | (select.POLLOUT if self._output else 0)

    def waiting_bytes(self) -> int:
        """Return how much output waits for the client."""
        return len(self._output)

    def read(self) -> bytes | None:
        """Read what the client has sent; return the request's line when it is complete.

        Raises:
            ClientGone: it has disconnected.
            BadRequestError: it sends too much.
        """
        try:
            data = self._connection.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            raise ClientGone from None
        if not data:
            raise ClientGone
        if self._ending:
            return None
        self._input += data
        request = None if self._asked else self._take_request()
        if self._asked:
            self._take_later_lines()
        return request

    def _take_request(self) -> bytes | None:
        line, newline, rest = self._input.partition(b"\n")
        if len(line) > protocol.REQUEST_LIMIT_BYTES:
            raise BadRequestError("the request is too long")
        if not newline:
            return None
        self._input, self._asked = rest, True
        return line

    def _take_later_lines(self) -> None:
        *lines, self._input = self._input.split(b"\n")
        if len(self._input) > _LATER_LINE_BYTES:
            raise BadRequestError("a line after the request is too long")
        for line in lines:
            if self.on_line is not None:
                self.on_line(line)

    def write(self) -> None:
        """Send as much as the client takes.

        Raises:
            ClientGone: it has disconnected, or has got the last line.
        """
        with self._changed:
            while self._output:
                try:
                    sent = self._connection.send(self._output[:_WRITTEN_BYTES])
                except (BlockingIOError, InterruptedError):
                    return
                except OSError:
                    raise ClientGone from None
                del self._output[:sent]
                self._progressed = time.monotonic()
                self._changed.notify_all()
            if self._ending:
                raise ClientGone

    def stalled_since(self) -> float | None:
        """Return since when the client takes nothing of what waits, on the monotonic clock."""
        return self._progressed if self._output else None

    def close(self) -> None:
        """Disconnect. A second call does nothing."""
        with self._changed:
            if self._gone:
                return
            self._gone = True
            self._output.clear()
            self._changed.notify_all()
        self._forget_unread()
        self._connection.close()
        if self.on_gone is not None:
            self.on_gone()

    def _forget_unread(self) -> None:
        """Read what the client has sent, else its end of the connection would lose our answer."""
        try:
            for _ in range(_MOST_READS):
                if not self._connection.recv(_READ_BYTES):
                    return
        except OSError:
            return
