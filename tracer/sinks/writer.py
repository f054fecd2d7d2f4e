"""A thread that writes lines to a descriptor, so that a blocked reader does not delay the engine.

emit() only queues. The thread sleeps in poll(2) on the queue's eventfd and on the
descriptor itself, which reports a reader that went away (`| head -1`) even while
there is nothing to write.
"""

import errno
import logging
import os
import select
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from tracer.sinks.complaints import Complaints
from tracer.sinks.fair_queue import FairQueue

_log = logging.getLogger(__name__)

Item = TypeVar("Item")
"""What is queued: events, log records."""

_GONE = frozenset({errno.EPIPE, errno.EBADF, errno.ECONNRESET, errno.ENXIO})
"""The reader is gone for good. A full disk (ENOSPC) is not: it may have room again."""

_RETRY_MILLISECONDS = 1000
_NEWLINE = ord("\n")


class LineWriter(Generic[Item]):
    """Renders and writes items in a thread of its own, in the order of a FairQueue.

    Args:
        descriptor: where to write; not closed.
        render: called in the thread; returns whole lines, newline included, or None to
            write nothing.
        limit: sum of the sizes of the queued items; beyond it items are dropped and counted.
        owner: returns whose an item is, for the queue.
        size: returns the size of an item; without it each is 1, and `limit` a number of items.
        lost: called with each item that was dropped or left in the queue at the end, by the
            thread that called emit() or close().
        background: called in the thread between two items; returns after how many
            milliseconds it is to be called again at the latest, None for any time.
        writing: called in the thread before an item's bytes are written.
        written: called in the thread after an item's bytes are out.
        on_closed: called in the thread, once, when the reader went away.
        name: of the thread, and in complaints about a failing descriptor.
    """

    def __init__(
        self,
        descriptor: int,
        render: Callable[[Item], bytes | None],
        *,
        limit: int,
        owner: Callable[[Item], Hashable] = lambda _: None,
        size: Callable[[Item], int] = lambda _: 1,
        lost: Callable[[Item], None] | None = None,
        background: Callable[[], int | None] = lambda: None,
        writing: Callable[[Item], None] | None = None,
        written: Callable[[Item], None] | None = None,
        on_closed: Callable[[], None] | None = None,
        name: str = "writer",
    ) -> None:
        self._descriptor = descriptor
        self._render = render
        self._lost = lost
        self._background = background
        self._writing = writing
        self._written = written
        self._on_closed = on_closed
        self._name = name
        self._queue: FairQueue[Item] = FairQueue(limit, owner=owner, size=size)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._counting = threading.Lock()  # emit() may be called from any thread
        self._dropped = 0
        self._failed = 0
        self._complaints = Complaints()
        self._torn = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.closed = False
        """The reader went away: nothing will be written any more."""

    def emit(self, item: Item) -> None:
        """Queue an item and return at once."""
        if self.closed or self._stopping:
            return
        self._drop(self._queue.put(item))
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
        """Return how many items found no room, or could not be written."""
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
        self._drop(self._queue.clear())

    def _drop(self, items: list[Item]) -> None:
        if not items:
            return
        with self._counting:
            self._dropped += len(items)
        if self._lost is not None:
            for item in items:
                self._lost(item)

    def _run(self) -> None:
        watch = select.poll()
        watch.register(self._wake, select.POLLIN)
        # No flags: only POLLERR (a pipe without reader), POLLHUP (a terminal that was
        # hung up) and POLLNVAL (a closed descriptor) can be reported.
        watch.register(self._descriptor, 0)
        while not self.closed:
            pause_milliseconds = self._between_items()
            while not self.closed and (item := self._queue.take()) is not None:
                self._one(item)
                pause_milliseconds = self._between_items()
            if self._stopping and not self._queue:
                return
            ready = dict(watch.poll(pause_milliseconds))
            if self._descriptor in ready and not self._queue:
                self._close()
            if self._wake in ready:
                os.eventfd_read(self._wake)

    def _between_items(self) -> int | None:
        try:
            return self._background()
        except Exception as error:  # noqa: BLE001 - it must not end the log
            self._report_bug(error, "lines about lost lines may be missing from the output")
            return None

    def _one(self, item: Item) -> None:
        try:
            line = self._render(item)
        except Exception as error:  # noqa: BLE001 - one bad item must not end the log
            self._failed += 1
            self._report_bug(error, "an event could not be rendered and is not in the output")
            return
        if line is not None:
            self._notify(self._writing, item)
            if not self._written_out(line):
                return
        self._notify(self._written, item)

    def _notify(self, listener: Callable[[Item], None] | None, item: Item) -> None:
        if listener is None:
            return
        try:
            listener(item)
        except Exception as error:  # noqa: BLE001 - nor may whoever wants to know
            self._report_bug(
                error, "an event is written, but the state could not be brought up to date"
            )

    def _written_out(self, line: bytes) -> bool:
        try:
            self._write(line)
        except OSError as error:
            self._failed += 1
            if error.errno in _GONE or (error.errno == errno.EIO and self._is_terminal()):
                self._close()
            else:
                self._complaints.failed(
                    error.errno,
                    f"tracer: {self._name}: cannot write: {error.strerror};"
                    " lines are being lost until this is resolved",
                )
            return False
        self._complaints.succeeded()
        return True

    def _report_bug(self, error: Exception, what: str) -> None:
        # Through logging, as the descriptor works: in the agent it becomes a line of the log.
        self._complaints.failed(
            type(error).__name__,
            f"{self._name}: {what}: {error!r}; please file a bug with this line",
            say=_log.error,
        )

    def _write(self, line: bytes) -> None:
        """Write a whole line; one write(2) unless the kernel takes only a part.

        A disk that fills up takes a part. What was written stays: cutting the file back
        (ftruncate) could cut off what another process that shares it has appended since.
        The next line begins with a newline instead, so that only the torn one is lost.
        """
        rest = memoryview(b"\n" + line if self._torn else line)
        while rest:
            try:
                taken = os.write(self._descriptor, rest)
            except BlockingIOError:
                # Whoever shares this terminal or pipe with us made it non-blocking.
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                writable.poll(_RETRY_MILLISECONDS)
                continue
            if taken:
                self._torn = rest[taken - 1] != _NEWLINE
            rest = rest[taken:]

    def _is_terminal(self) -> bool:
        return os.isatty(self._descriptor)

    def _close(self) -> None:
        self.closed = True
        if self._on_closed is not None:
            self._on_closed()
