"""A thread that writes lines to a descriptor, so that a blocked reader delays nobody.

emit() only queues. The thread sleeps in poll(2) on the queue's eventfd and on the
descriptor itself, which reports a reader that went away (`| head -1`) even while
there is nothing to write.
"""

import errno
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable

from tracer.model.event import Event

Render = Callable[[Event], bytes | None]
"""An event as the bytes to write, newline included; None writes nothing."""

_GONE = frozenset({errno.EPIPE, errno.EBADF, errno.ECONNRESET, errno.ENXIO})
"""The reader is gone for good. A full disk (ENOSPC) is not: it may have room again."""

_RETRY_MILLISECONDS = 1000


class LineWriter:
    """Renders and writes events in a thread of its own, in order.

    Args:
        descriptor: where to write; not closed.
        render: called in the thread.
        limit: events queued at most; further ones are dropped and counted.
        written: called in the thread after an event's bytes are out.
        on_closed: called in the thread, once, when the reader went away.
        name: of the thread, and in the one complaint about a failing descriptor.
    """

    def __init__(
        self,
        descriptor: int,
        render: Render,
        *,
        limit: int,
        written: Callable[[Event], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        name: str = "writer",
    ) -> None:
        self._descriptor = descriptor
        self._render = render
        self._limit = limit
        self._written = written
        self._on_closed = on_closed
        self._name = name
        self._queue: deque[Event] = deque()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._dropped = 0
        self._failed = 0
        self._complained = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.closed = False
        """The reader went away: nothing will be written any more."""

    def emit(self, event: Event) -> None:
        """Queue an event and return at once."""
        if self.closed or self._stopping:
            return
        if len(self._queue) >= self._limit:
            self._dropped += 1
            return
        self._queue.append(event)
        self._wake_up()
        if self._thread is None:
            # Not in the constructor: a caller may still fork or drop privileges.
            self.start()

    def start(self) -> None:
        """Start the thread, to notice a closed descriptor before the first event."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _wake_up(self) -> None:
        os.eventfd_write(self._wake, 1)

    def dropped(self) -> int:
        """Return how many events found no room, or could not be written."""
        return self._dropped + self._failed

    def close(self, timeout_seconds: float) -> None:
        """Write what is queued, for at most so long; what is left then counts as dropped."""
        if self._stopping:
            return
        self._stopping = True
        self._wake_up()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        # The thread may be stuck in write(2) on a reader that stands still: it is a
        # daemon, and keeps its eventfd.
        if self._thread is None or not self._thread.is_alive():
            os.close(self._wake)
        self._dropped += len(self._queue)
        self._queue.clear()

    def _run(self) -> None:
        watch = select.poll()
        watch.register(self._wake, select.POLLIN)
        # No flags: only POLLERR (a pipe without reader), POLLHUP (a terminal that was
        # hung up) and POLLNVAL (a closed descriptor) can be reported.
        watch.register(self._descriptor, 0)
        while not self.closed:
            while self._queue and not self.closed:
                self._one(self._queue.popleft())
            if self._stopping and not self._queue:
                return
            ready = dict(watch.poll())
            if self._descriptor in ready and not self._queue:
                self._close()
            if self._wake in ready:
                os.eventfd_read(self._wake)

    def _one(self, event: Event) -> None:
        try:
            line = self._render(event)
            if line is not None:
                self._write(line)
        except OSError as error:
            self._failed += 1
            if error.errno in _GONE or (error.errno == errno.EIO and self._is_terminal()):
                self._close()
            else:
                self._complain(error)
            return
        except Exception as error:  # noqa: BLE001 - one bad record must not end the log
            self._failed += 1
            self._complain(error)
            return
        if self._written is None:
            return
        try:
            self._written(event)
        except Exception as error:  # noqa: BLE001 - nor may whoever wants to know
            self._complain(error)

    def _write(self, line: bytes) -> None:
        """Write a whole line; one write(2) unless the kernel takes only a part."""
        rest = memoryview(line)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Whoever shares this terminal or pipe with us made it non-blocking.
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                writable.poll(_RETRY_MILLISECONDS)

    def _is_terminal(self) -> bool:
        return os.isatty(self._descriptor)

    def _close(self) -> None:
        self.closed = True
        if self._on_closed is not None:
            self._on_closed()

    def _complain(self, error: Exception) -> None:
        """Say once what fails; the count says how often."""
        if self._complained:
            return
        self._complained = True
        sys.stderr.write(f"tracer: {self._name}: {error!r}; said once, lost lines are counted\n")
