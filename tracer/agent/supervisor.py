"""Keeps one source running: opens it, retries it, replaces it, returns to a better one.

What happens after an error depends on its kind and on --source:

- temporary: the same source is tried again, after 0.1 s, doubled up to 10 s;
- temporary, FAILURES_BEFORE_FALLBACK times in a row, or permanent, under `auto`: the next
  source of the order that starts takes over;
- permanent, and the source was asked for by name or no other works: PermanentError.

After a fallback the better source is started again after 30 s, then after twice as long each
time up to 10 min. One that failed permanently before it ever ran (no BTF, no capability) is
not tried again: that takes another kernel or other rights, which means another agent.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tracer.agent.backoff import Backoff, Pace, ReturnPlan
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError, TemporaryError, classified
from tracer.model import (
    BlockedWait,
    Child,
    Forker,
    Identity,
    Losses,
    Observation,
    Snapshot,
    Source,
    Waits,
)
from tracer.sources.select import ORDER, Makers, Opened, open_first, open_source, start

FAILURES_BEFORE_FALLBACK = 5
"""In a row: with the waits between them about 2 s."""

_IDLE_NS = 5 * NS
"""The longest sleep while the source is not polled: /healthz wants a tick every 30 s."""


class SourceChange(NamedTuple):
    """What to report about the source.

    Attributes:
        name: of the source in use now; None while none is attached.
        previous: of the one before; the same name when only its state changed.
        reason: one sentence.
        improvement: it is better than before.
    """

    name: str | None
    previous: str | None
    reason: str
    improvement: bool


class Supervisor:
    """Owns the source in use. Implements Source, so whoever asks a source can hold this instead.

    The engine's thread owns it; other threads may call what a Source lets them.

    Args:
        wanted: auto, core, bcc or proc.
        makers: how to construct each source.
        pace: the waits between attempts.

    Attributes:
        name: of the source in use; empty before start().
        attached_boot_ns: since when that source sees every death; None when it does not.
        reason: why it is this source.
        problem: why zombies may be reported late or not at all now; None when all is well.
    """

    def __init__(self, wanted: str, makers: Makers, *, pace: Pace | None = None) -> None:
        self._wanted = wanted
        self._makers = makers
        self._pace = pace or Pace()
        self._source: Source | None = None
        self._broken: PermanentError | None = None
        self._retry = Backoff(
            self._pace.retry_first_ns, self._pace.retry_longest_ns, self._pace.jitter
        )
        self._retry_boot_ns = 0
        self._returns: dict[str, ReturnPlan] = {}
        self._losses = Losses()
        self._exits: int | None = None
        self._min_age_ns: int | None = None
        self.name = ""
        self.attached_boot_ns: int | None = None
        self.reason = ""
        self.problem: str | None = "no source is attached yet"

    @property
    def running(self) -> bool:
        """Whether a source is attached."""
        return self._source is not None

    def start(self) -> None:
        """Open the source asked for, or with auto the first that works.

        Raises:
            PermanentError: none can work here; says why.
            TemporaryError: another attempt may succeed.
        """
        if self._wanted == "auto":
            opened = open_first(ORDER, make=self._makers)
            self._schedule_returns(opened, boot_ns())
            self._use(opened.source, opened.reason)
        else:
            self._use(*open_source(self._wanted, make=self._makers))

    def _use(self, source: Source, reason: str) -> None:
        if self._min_age_ns is not None:
            source.set_min_age(self._min_age_ns)
        if self._source is not None:
            self._source.close()
        self._source, self.reason = source, reason
        self.name, self.attached_boot_ns = source.name, source.attached_boot_ns
        self._losses, self._exits = Losses(), None
        self._over()

    def _over(self) -> None:
        self._retry.reset()
        self._retry_boot_ns = 0
        self._broken = self.problem = None

    # --- what goes wrong ---------------------------------------------------------------

    def failed(self, error: Exception, now_boot_ns: int) -> SourceChange | None:
        """Decide what follows from an error of the source.

        Returns:
            the change, if another source took over; None if this one is tried again.

        Raises:
            PermanentError: the source cannot work, and no other may take its place or can.
            Exception: the error itself, when it is a bug.
        """
        known = classified(error)
        if known is None:
            raise error
        self._retry_boot_ns = now_boot_ns + self._retry.next_ns()
        permanent = isinstance(known, PermanentError)
        if permanent and self._wanted != "auto":
            raise PermanentError(f"{self.name} failed: {known}") from error
        if self._wanted == "auto" and (
            permanent or self._retry.failures % FAILURES_BEFORE_FALLBACK == 0
        ):
            change = self._fall_back(known, now_boot_ns)
            if change is not None:
                return change
        if isinstance(known, PermanentError):
            self._broken = known
        self.problem = f"{self.name} failed: {known}"
        return None

    def worked(self) -> None:
        """Note that the source was read and compared with a snapshot."""
        if self.problem is not None:
            self._over()

    def _fall_back(
        self, error: PermanentError | TemporaryError, now_boot_ns: int
    ) -> SourceChange | None:
        """Start the next source that works; None when that may work later."""
        previous, before = self.name, f"{self.name} failed: {error}"
        lesser = ORDER[ORDER.index(previous) + 1 :]
        try:
            opened = open_first(lesser, make=self._makers, before=before)
        except TemporaryError:
            return None
        except PermanentError:
            if isinstance(error, TemporaryError):
                return None
            raise
        self._schedule_return(previous, now_boot_ns)
        self._schedule_returns(opened, now_boot_ns)
        self._use(opened.source, f"{before}; {opened.reason}; {previous} will be tried again")
        return SourceChange(self.name, previous, self.reason, improvement=False)

    # --- the way back ------------------------------------------------------------------

    def _schedule_returns(self, opened: Opened, now_boot_ns: int) -> None:
        for name, error in opened.failures.items():
            if isinstance(error, TemporaryError):
                self._schedule_return(name, now_boot_ns)

    def _schedule_return(self, name: str, now_boot_ns: int) -> None:
        known = self._returns.get(name)
        if known is None:
            self._returns[name] = ReturnPlan(self._pace, now_boot_ns)
        else:
            known.failed(now_boot_ns)

    def return_to_better(self, now_boot_ns: int) -> SourceChange | None:
        """Start a better source if an attempt is due and it works.

        The source in use goes on until the better one is attached, so nothing is missed.
        """
        for name in self._better():
            planned = self._returns[name]
            if planned.due_boot_ns is None or planned.due_boot_ns > now_boot_ns:
                continue
            try:
                source = start(name, self._makers)
            except (PermanentError, TemporaryError):
                planned.failed(now_boot_ns)
                continue
            planned.started(now_boot_ns)
            previous = self.name
            self._use(source, f"{name} works again")
            return SourceChange(name, previous, self.reason, improvement=True)
        return None

    def _better(self) -> list[str]:
        if self._source is None:
            return []
        return [name for name in ORDER[: ORDER.index(self.name)] if name in self._returns]

    # --- the source in use -------------------------------------------------------------

    def ready(self, now_boot_ns: int) -> bool:
        """Return whether the source may be asked: not while waiting after a failure."""
        return now_boot_ns >= self._retry_boot_ns

    def fileno(self) -> int | None:
        """Return a descriptor that becomes readable when poll() has something, if there is one."""
        return None if self.problem is not None else self._running().fileno()

    def next_poll_boot_ns(self, now_boot_ns: int) -> int:
        """Return when to poll, to retry or to try a better source."""
        if self.problem is None:
            dues = [self._running().next_poll_boot_ns(now_boot_ns)]
        else:
            dues = [self._retry_boot_ns, now_boot_ns + _IDLE_NS]
        returns = (self._returns[name].due_boot_ns for name in self._better())
        return min([*dues, *(due for due in returns if due is not None)])

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Poll the source, and read its counters.

        Raises:
            Exception: whatever the source raises; to be handed to failed().
        """
        source = self._running()
        if self._broken is not None:
            raise self._broken
        observations = source.poll(now_boot_ns)
        self._losses, self._exits = source.losses(), source.exits()
        return observations

    def set_min_age(self, min_age_ns: int) -> None:
        """Have poll() return children from that age on, whichever source is in use or follows.

        Raises as poll() does.
        """
        self._min_age_ns = min_age_ns
        if self._source is not None:
            self._source.set_min_age(min_age_ns)

    def young(self, now_boot_ns: int) -> Sequence[Child]:
        """Return zombies below the minimum age that the source knows; none without a source."""
        return () if self._source is None else self._source.young(now_boot_ns)

    def snapshot(self) -> Snapshot:
        """Take a snapshot. Raises as poll() does, also while the snapshot is read."""
        return self._running().snapshot()

    def look(self) -> Snapshot:
        """Return every zombie of any age, without an effect on the others. Raises as poll() does.

        Any thread may call it.
        """
        return self._running().look()

    def losses(self) -> Losses:
        """Return what the source had lost when it was polled last."""
        return self._losses

    def exits(self) -> int | None:
        """Return how many processes had died when the source was polled last."""
        return self._exits

    def waits(self, identity: Identity) -> Waits | None:
        """Return how that process waited and how its children fared; None when not seen."""
        return self._running().waits(identity)

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that living process; None when not seen."""
        return self._running().forker(identity)

    def blocked_waits(self, identity: Identity) -> tuple[BlockedWait, ...] | None:
        """Return the wait calls in which threads of that process are now; None when unknown."""
        return self._running().blocked_waits(identity)

    def close(self) -> None:
        """Detach. A second call does nothing."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _running(self) -> Source:
        if self._source is None:
            raise PermanentError("no source is attached")
        return self._source
