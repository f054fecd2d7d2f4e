"""When to try again: waits that double up to a bound, with jitter."""

import random
from collections.abc import Callable
from typing import NamedTuple

from tracer.clock import NS


class Pace(NamedTuple):
    """The waits between attempts, in nanoseconds before jitter.

    Attributes:
        retry_first, retry_longest: of a source that fails while it runs.
        return_first, return_longest: of a better source after a fallback.
        jitter: a number from 0 to 1 for each wait.
    """

    retry_first_ns: int = NS // 10
    retry_longest_ns: int = 10 * NS
    return_first_ns: int = 30 * NS
    return_longest_ns: int = 600 * NS
    jitter: Callable[[], float] = random.random


class Backoff:
    """Counts the failures in a row and spaces the attempts out.

    Args:
        first_ns: the wait after the first failure, before jitter.
        longest_ns: no wait is longer.
        jitter: returns a number from 0 to 1; half of each wait depends on it, so that the
            agents of many nodes do not retry in step.
    """

    def __init__(
        self, first_ns: int, longest_ns: int, jitter: Callable[[], float] = random.random
    ) -> None:
        self._first_ns = first_ns
        self._longest_ns = longest_ns
        self._jitter = jitter
        self.failures = 0

    def next_ns(self) -> int:
        """Count a failure and return how long to wait after it."""
        wait_ns = min(self._longest_ns, self._first_ns << min(self.failures, 30))
        self.failures += 1
        return int(wait_ns * (0.5 + self._jitter() / 2))

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self.failures = 0


class ReturnPlan:
    """When a better source is tried again."""

    def __init__(self, pace: Pace, now_boot_ns: int) -> None:
        self._backoff = Backoff(pace.return_first_ns, pace.return_longest_ns, pace.jitter)
        self._steady_ns = pace.return_longest_ns
        self._started_boot_ns: int | None = None
        self.due_boot_ns: int | None = None
        self.failed(now_boot_ns)

    def failed(self, now_boot_ns: int) -> None:
        """Schedule the next attempt; the waits begin anew after a long time without failure."""
        started = self._started_boot_ns
        if started is not None and now_boot_ns - started >= self._steady_ns:
            self._backoff.reset()
        self._started_boot_ns = None
        self.due_boot_ns = now_boot_ns + self._backoff.next_ns()

    def started(self, now_boot_ns: int) -> None:
        """Note that it runs again."""
        self._started_boot_ns = now_boot_ns
        self.due_boot_ns = None
