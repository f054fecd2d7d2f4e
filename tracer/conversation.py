"""A client's side of the conversation with the agent: copies its answer to stdout and stderr.

Nothing here blocks but poll(): a client whose reader has stalled must still notice that its
user is gone.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from _socket import MSG_DONTWAIT
from collections import deque
from collections.abc import Mapping, Sequence
from types import FrameType

from tracer import protocol

TYPE_CHECKING = False  # as typing has it, which would add 400 kB
if TYPE_CHECKING:
    from _socket import socket

_CANNOT_RUN_STATUS = 3
_INTERRUPTED_STATUS = 130
_READ_BYTES = 16 << 10
_QUEUED_BYTES = 64 << 10
_WRITTEN_BYTES = select.PIPE_BUF
"""A pipe for which poll(2) reports POLLOUT takes so many without blocking."""

_ENVIRONMENT = ("TZ", "NO_COLOR", "TERM", "LANG", "NODE_NAME")


class _Ended(Exception):  # noqa: N818 - not an error
    """The user, or a signal, ends the client."""


def request(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> bytes:
    """Return the line that asks the agent to run a command for this process."""
    sent = {
        name: value
        for name, value in environment.items()
        if name in _ENVIRONMENT or name.startswith("TRACER_")
    }
    line = {
        "tracer": protocol.VERSION,
        "command": command,
        "arguments": list(arguments),
        "columns": _columns(),
        "terminal": os.isatty(1),
        "environment": sent,
        "utc_offset_seconds": time.localtime().tm_gmtoff,
    }
    return json.dumps(line).encode() + b"\n"


def _columns() -> int | None:
    try:
        return os.get_terminal_size(1).columns or None
    except OSError:
        return None


class Conversation:
    """One request and its answer.

    Args:
        connection: to the agent; closed at the end.
        watch_stdin: end when stdin does, or when nothing comes from it for a minute.
        endless: the answer has no end of its own, so a signal is the usual one.
    """

    def __init__(self, connection: "socket", *, watch_stdin: bool, endless: bool) -> None:
        self._connection = connection
        self._watch_stdin = watch_stdin
        self._interrupted_status = 0 if endless else _INTERRUPTED_STATUS
        self._interrupts = (signal.SIGINT, *((signal.SIGTERM, signal.SIGHUP) if endless else ()))
        self._heard = time.monotonic()
        self._received = b""
        self._queue: deque[tuple[int, bytes]] = deque()
        self._queued = 0
        self._end: dict[str, object] | None = None

    def run(self, line: bytes) -> tuple[int | None, str | None]:
        """Send the request and print the answer.

        Returns:
            the exit status; None when the agent speaks another version.
        """
        before = {
            number: signal.signal(number, _interrupt)
            for number in self._interrupts
            if signal.getsignal(number) != signal.SIG_IGN
        }
        try:
            # A refusal may have been sent already, and the connection closed: read it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.sendall(line)
            before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, self._resized)
            return self._converse(), None
        except _Ended:
            return self._interrupted_status, None
        except BrokenPipeError:
            return 0, None  # the reader of our output is gone, as with `| head`
        except OSError as error:
            _say(
                f"error: cannot write the output: {error.strerror}; free space there or write"
                " elsewhere"
            )
            return _CANNOT_RUN_STATUS, None
        finally:
            self._connection.close()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        columns = _columns()
        if columns is not None:
            try:
                line = json.dumps({"columns": columns}).encode() + b"\n"
                self._connection.send(line, MSG_DONTWAIT)
            except OSError:
                return  # the loop sees that the agent is gone

    def _converse(self) -> int | None:
        while self._end is None or self._queue:
            self._wait()
        if self._end.get("other_version"):
            return None
        status = self._end.get("exit")
        return status if isinstance(status, int) else _CANNOT_RUN_STATUS

    def _wait(self) -> None:
        """Wait until something can be read or written, and do that."""
        poll = select.poll()
        head = self._queue[0][0] if self._queue else None
        # Without events poll() still reports that the other end is closed.
        poll.register(1, select.POLLOUT if head == 1 else 0)
        if head == 2:
            poll.register(2, select.POLLOUT)
        if self._end is None and self._queued < _QUEUED_BYTES:
            poll.register(self._connection.fileno(), select.POLLIN)
        if self._watch_stdin:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll(self._patience_ms()))
        if 0 in ready:
            self._hear()
        elif self._watch_stdin and not self._patience_ms():
            raise _Ended
        if head is not None and ready.get(head, 0) & select.POLLOUT:
            self._write()
        elif ready.get(1, 0) & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            raise BrokenPipeError
        if self._connection.fileno() in ready:
            self._read()

    def _patience_ms(self) -> int | None:
        """Return how long the user may stay silent from now on; None for ever."""
        if not self._watch_stdin:
            return None
        left = self._heard + protocol.HEARTBEAT_SECONDS - time.monotonic()
        return max(0, int(left * 1000))

    def _hear(self) -> None:
        if not os.read(0, _READ_BYTES):
            raise _Ended
        self._heard = time.monotonic()

    def _write(self) -> None:
        descriptor, data = self._queue.popleft()
        written = os.write(descriptor, data[:_WRITTEN_BYTES])
        self._queued -= written
        if data[written:]:
            self._queue.appendleft((descriptor, data[written:]))

    def _read(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            self._take(
                {
                    "err": "tracer: error: the agent ended the connection: it has stopped, or this"
                    " output was read too slowly; run the command again\n",
                    "exit": _CANNOT_RUN_STATUS,
                }
            )
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, answer: dict[str, object]) -> None:
        for descriptor, name, stream in ((1, "out", sys.stdout), (2, "err", sys.stderr)):
            text = answer.get(name)
            if isinstance(text, str) and text:
                data = text.encode(stream.encoding or "utf-8", "replace")
                self._queue.append((descriptor, data))
                self._queued += len(data)
        if "exit" in answer:
            self._end = answer


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise _Ended


def _say(text: str) -> None:
    os.write(2, f"tracer: {text}\n".encode())
