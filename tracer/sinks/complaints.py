"""What a sink says about its own failures: each one once, and not too often.

That stdout cannot be written is the only text that a running agent writes to stderr: no line
of the log could say so.
"""

import os
import sys
from collections.abc import Callable, Hashable
from contextlib import suppress

from tracer.clock import NS, boot_ns

_BURST = 5
_REFILL_NS = 60 * NS
"""Five complaints at once, then one per minute: a disk that is full every other second
must not fill stderr as well."""


def to_stderr(text: str) -> None:
    """Write a line to stderr, which may be as full or as closed as the log itself.

    Past Python's buffer: what stays in that makes the interpreter's exit fail.
    """
    if sys.stderr is None:
        return
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{text}\n".encode())


class Complaints:
    """Says each distinct failure once, and again if it comes back after a success.

    Args:
        clock: boot time in nanoseconds.
    """

    def __init__(self, clock: Callable[[], int] = boot_ns) -> None:
        self._clock = clock
        self._failing: set[Hashable] = set()
        self._tokens = float(_BURST)
        self._refilled_boot_ns = clock()

    def failed(self, kind: Hashable, text: str, say: Callable[[str], None] = to_stderr) -> None:
        """Say what failed, unless this kind of failure was said since the last success.

        Args:
            kind: what makes failures the same, such as an errno.
            text: one line: what failed, and what follows from it.
            say: takes the text.
        """
        if kind in self._failing:
            return
        now = self._clock()
        refill = (now - self._refilled_boot_ns) / _REFILL_NS
        self._tokens, self._refilled_boot_ns = min(float(_BURST), self._tokens + refill), now
        if self._tokens < 1:
            return
        self._tokens -= 1
        self._failing.add(kind)
        say(text)

    def succeeded(self) -> None:
        """Take note of a success: from now on every failure is worth saying again."""
        self._failing.clear()
