"""A source that ages made-up deaths as the real ones do: for what must come at set moments."""

import threading

from support.records import child
from support.sources import Listed, ScriptedSource
from tracer.clock import boot_ns
from tracer.model import Gone


class AgeingSource(ScriptedSource):
    """Reports each death once, at the minimum age of the moment; then its reaping.

    Attributes:
        ages: the minimum ages that were set, in order.
        look_error: raised by look() while it is set.
    """

    def __init__(self, min_age_ns):
        super().__init__("core", clock=boot_ns)
        self.ages = []
        self.look_error = None
        self._age_ns = min_age_ns
        self._lock = threading.Lock()
        self._dead, self._known, self._gone = {}, set(), []

    def die(self, pid, parent=4_090_001, **changes):
        """Let a child die now, or as `changes` say; return it."""
        now = boot_ns()
        dead = child(pid, parent, now_boot_ns=now, **{"exit_boot_ns": now, **changes})
        with self._lock:
            self._dead[dead.identity] = dead
        return dead

    def reap(self, dead):
        with self._lock:
            del self._dead[dead.identity]
            if dead.identity in self._known:
                self._gone.append(Gone(dead.identity, boot_ns()))

    def set_min_age(self, min_age_ns):
        self.ages.append(min_age_ns)
        self._age_ns = min_age_ns

    def poll(self, now_boot_ns):
        if self.poll_error is not None:
            raise self.poll_error
        with self._lock:
            gone, self._gone = self._gone, []
            return [*self._due(now_boot_ns), *gone]

    def _due(self, now_boot_ns):
        due = [
            dead
            for identity, dead in self._dead.items()
            if identity not in self._known
            and dead.exit_boot_ns is not None
            and dead.exit_boot_ns + self._age_ns <= now_boot_ns
        ]
        self._known.update(dead.identity for dead in due)
        return due

    def snapshot(self):
        with self._lock:
            self._due(boot_ns())
            unseen = {i for i, dead in self._dead.items() if dead.exit_boot_ns is None}
            self._known |= unseen
            self.snapshots.append(boot_ns())
            return Listed(boot_ns(), [d for i, d in self._dead.items() if i in self._known])

    def look(self):
        if self.look_error is not None:
            raise self.look_error
        with self._lock:
            return Listed(boot_ns(), self._dead.values())
