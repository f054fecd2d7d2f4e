"""A source that does what a test tells it to, for what real ones do too rarely."""

from tracer.model import Losses


class Listed:
    """A snapshot of these children."""

    def __init__(self, taken_boot_ns, children):
        self.taken_boot_ns = taken_boot_ns
        self._children = list(children)

    def keys(self):
        for child in self._children:
            identity = child.identity
            yield identity.pid, identity.start_ticks, child.parent_pid, child.exit_boot_ns or 0

    def child(self, index):
        return self._children[index]


class ScriptedSource:
    """Implements Source.

    Attributes:
        name: core, bcc or proc.
        dead: the children that snapshots show.
        start_error, poll_error, snapshot_error: raised by that call while they are set.
        lost: what losses() returns.
        observe: called with the time by poll(), returns its observations.
        snapshot_ns: how long a snapshot takes.
        min_age_ns: what was set last; None if nothing was.
        polls, snapshots: the times at which it was asked.
        open: it is started and not closed.
    """

    def __init__(
        self,
        name,
        *,
        clock,
        start_error=None,
        attached=True,
        observe=lambda _now: [],
        snapshot_ns=0,
    ):
        self.name = name
        self.attached_boot_ns = None
        self.dead = []
        self.start_error = start_error
        self.poll_error = self.snapshot_error = None
        self.lost = Losses()
        self.min_age_ns = None
        self.polls, self.snapshots = [], []
        self.starts = 0
        self.open = False
        self.observe, self.snapshot_ns = observe, snapshot_ns
        self._clock = clock
        self._attached = attached

    def start(self):
        self.starts += 1
        if self.start_error is not None:
            raise self.start_error
        self.open = True
        self.attached_boot_ns = self._clock() if self._attached else None

    def fileno(self):
        return None

    def next_poll_boot_ns(self, now_boot_ns):
        return now_boot_ns + 10_000_000

    def poll(self, now_boot_ns):
        self.polls.append(now_boot_ns)
        if self.poll_error is not None:
            raise self.poll_error
        return self.observe(now_boot_ns)

    def set_min_age(self, min_age_ns):
        self.min_age_ns = min_age_ns

    def young(self, now_boot_ns):
        return ()

    def snapshot(self):
        now = self._clock()
        while self._clock() < now + self.snapshot_ns:
            pass
        self.snapshots.append(now)
        if self.snapshot_error is not None:
            raise self.snapshot_error
        return Listed(now, self.dead)

    def look(self):
        return Listed(self._clock(), self.dead)

    def losses(self):
        return self.lost

    def exits(self):
        return None

    def waits(self, identity):
        return None

    def forker(self, identity):
        return None

    def blocked_waits(self, identity):
        return None

    def close(self):
        self.open = False
