"""Transitions on their way to the reporter: one that meets a temporary error waits its turn.

Reporting reads /proc, where any read may fail for want of descriptors or memory. A zombie
must neither be lost for that nor hold up others.
"""

from collections.abc import Iterable
from typing import Protocol

from tracer.agent.backoff import Backoff
from tracer.clock import NS
from tracer.errors import TemporaryError, classified
from tracer.model import Identity, StormChanged, Transition

_RETRY_FIRST_NS = NS // 10
_RETRY_LONGEST_NS = 5 * NS


class TransitionReporter(Protocol):
    """What the queue needs of the reporter."""

    def report(self, transitions: Iterable[Transition], now_boot_ns: int) -> None:
        """Report transitions; one whose report raises may be reported again."""

    def release(self, now_boot_ns: int, *, everything: bool = False) -> None:
        """Report the detections that waited for their pod's name."""


class ReportQueue:
    """Hands transitions to the reporter, and again later what failed temporarily.

    The transitions of one zombie (or of one storm) keep their order.

    Attributes:
        problem: why some wait; None when none does.
    """

    def __init__(self, reporter: TransitionReporter, backoff: Backoff | None = None) -> None:
        self._reporter = reporter
        self._backoff = backoff or Backoff(_RETRY_FIRST_NS, _RETRY_LONGEST_NS)
        self._waiting: list[Transition] = []
        self._about: set[Identity] = set()
        self._retry_boot_ns = 0
        self.problem: str | None = None

    def report(self, transitions: Iterable[Transition], now_boot_ns: int) -> None:
        """Report each, behind those of the same zombie that still wait.

        Raises:
            Exception: whatever the reporter raises that is not temporary.
        """
        for transition in transitions:
            about = _subject(transition)
            if about in self._about:
                self._waiting.append(transition)
                continue
            try:
                self._reporter.report((transition,), now_boot_ns)
            except Exception as error:  # noqa: BLE001 - raised again unless temporary
                self._note(error)
                self._waiting.append(transition)
                self._about.add(about)
        if self._waiting and not self._retry_boot_ns:
            self._retry_boot_ns = now_boot_ns + self._backoff.next_ns()

    def release(self, now_boot_ns: int, *, everything: bool = False) -> None:
        """Let the reporter report the detections it holds back, and retry what waits here.

        Args:
            now_boot_ns: now.
            everything: do not wait any longer: this is the end.
        """
        if self._retry_boot_ns:
            if now_boot_ns < self._retry_boot_ns and not everything:
                return
            waiting, self._waiting = self._waiting, []
            self._about.clear()
            self._retry_boot_ns, self.problem = 0, None
            self.report(waiting, now_boot_ns)
        try:
            self._reporter.release(now_boot_ns, everything=everything)
        except Exception as error:  # noqa: BLE001 - raised again unless temporary
            self._note(error)
            self._retry_boot_ns = self._retry_boot_ns or now_boot_ns + self._backoff.next_ns()
        if self.problem is None:
            self._backoff.reset()

    def next_due_boot_ns(self) -> int | None:
        """Return when release() is to be called; None when nothing waits here."""
        return self._retry_boot_ns or None

    def __len__(self) -> int:
        return len(self._waiting)

    def _note(self, error: Exception) -> None:
        """Keep the reason of a temporary error; raise any other."""
        known = classified(error)
        if not isinstance(known, TemporaryError):
            raise error
        self.problem = f"zombies cannot be reported: {known}"


def _subject(transition: Transition) -> Identity:
    """Return whom a transition is about: a zombie, or the parent of a storm."""
    if isinstance(transition, StormChanged):
        return transition.storm.parent
    return transition.zombie.child.identity
