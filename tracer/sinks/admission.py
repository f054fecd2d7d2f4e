"""Decides which events become lines: each pod has a budget, and a zombie's lines go together."""

from collections.abc import Callable
from threading import Lock

from tracer.clock import boot_ns
from tracer.model import Identity
from tracer.model.event import Event, EventName
from tracer.sinks.budget import LineBudgets, LogBudget
from tracer.sinks.left_out import LeftOut, Reason
from tracer.sinks.owner import LineOwner, names_of, owner_of

UNREPORTED = 65_536
"""Zombies without zombie_detected in the log that are remembered; the agent lists fewer."""


class Admission:
    """Admits events to the log, and counts those that it leaves out.

    A zombie whose zombie_detected is not in the log gets no later lines either. admits() is
    called by the thread that emits events, missed() by any.

    Args:
        budget: of each pod; None for no limit.
        clock: boot time in nanoseconds.
    """

    def __init__(self, budget: LogBudget | None, clock: Callable[[], int] = boot_ns) -> None:
        self._budgets = None if budget is None else LineBudgets(budget, clock)
        self._lock = Lock()
        self._unreported: dict[Identity, Reason] = {}
        self.left_out = LeftOut(clock)
        self.follow_ups = 0
        """Later lines of zombies whose zombie_detected found no room in the queue."""

    def admits(self, event: Event) -> bool:
        """Return whether the event becomes a line; count it if it does not."""
        reason = self._reason(event)
        if reason is not None:
            self._count(event, reason)
        return reason is None

    def missed(self, event: Event) -> None:
        """Count an event that was admitted, but found no room in the queue."""
        self._count(event, Reason.QUEUE_FULL)

    def _reason(self, event: Event) -> Reason | None:
        """Return why an event is left out; None when it is not."""
        before = self._reason_before(event)
        if before is Reason.QUEUE_FULL:
            self.follow_ups += 1
        owner = owner_of(event)
        if before is not None or self._budgets is None or not isinstance(owner, LineOwner):
            return before
        admitted = self._budgets.take(owner, overdraw=event.storm is not None)
        return None if admitted else Reason.OVER_BUDGET

    def _reason_before(self, event: Event) -> Reason | None:
        """Return why the zombie_detected of this event's zombie was left out, if it was."""
        identity = _zombie(event)
        if identity is None:
            return None
        with self._lock:
            if event.name is EventName.ZOMBIE_AGED:
                return self._unreported.get(identity)
            before = self._unreported.pop(identity, None)
            return before if event.name is EventName.ZOMBIE_REAPED else None

    def _count(self, event: Event, reason: Reason) -> None:
        self.left_out.add(names_of(event), reason, event.name)
        identity = _zombie(event)
        if identity is None or event.name is not EventName.ZOMBIE_DETECTED:
            return
        with self._lock:
            if len(self._unreported) >= UNREPORTED:
                del self._unreported[next(iter(self._unreported))]
            self._unreported[identity] = reason


def _zombie(event: Event) -> Identity | None:
    return None if event.record is None else event.record.zombie.child.identity
