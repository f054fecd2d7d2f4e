"""The request to end, and the sleep that it cuts short."""

import os
import select

from tracer.clock import boot_ns

_MILLISECOND_NS = 1_000_000


class StopRequest:
    """Made before everything that may ask the agent to end: signal handlers, sinks, the engine.

    Attributes:
        reason: why the agent is to end, from the first request; None until there is one.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def request(self, reason: str) -> None:
        """Ask for the end. May be called from a signal handler or another thread."""
        if self.reason is None:
            self.reason = reason
        self.wake()

    def wake(self) -> None:
        """End the current sleep, or the next one at once."""
        os.eventfd_write(self._wake, 1)

    def sleep_until(self, boot_time_ns: int, descriptor: int | None = None) -> bool:
        """Sleep until a time on the boot clock, until `descriptor` is readable, or until woken.

        Returns:
            whether wake() or request() ended the sleep.
        """
        watch = select.poll()
        watch.register(self._wake, select.POLLIN)
        if descriptor is not None:
            watch.register(descriptor, select.POLLIN)
        # Rounded up: waking a moment early would only mean waking twice.
        milliseconds = max(0, -(-(boot_time_ns - boot_ns()) // _MILLISECOND_NS))
        woken = self._wake in dict(watch.poll(milliseconds))
        if woken:
            os.eventfd_read(self._wake)
        return woken
