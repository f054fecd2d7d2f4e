"""One source with the agent's table behind it, and what the two have said so far."""

import os
import select

from tracer.clock import NS, boot_ns
from tracer.model import Detected, Identity, Reaped
from tracer.table.storm import StormRules
from tracer.table.table import Table

from . import facts
from .actors import MIN_AGE_SECONDS

MIN_AGE_NS = int(MIN_AGE_SECONDS * NS)

LOST = {"exit_boot_ns", "forker", "exit_parent_pid", "origin"}
"""What may be unknown of a zombie whose birth or death was lost, and counted as lost."""


class Watcher:
    """Polls a source as the engine does.

    Attributes:
        name: of the source.
        detected: every zombie reported, by identity.
        reaped: how long each lived, by identity.
        doubled: zombies reported more than once.
        asked, unknown: how often a fact was asked for that is known mostly, and was not.
    """

    def __init__(self, source):
        self.source = source
        self.name = source.name
        self.detected = {}
        self.reaped = {}
        self.doubled = []
        self.asked = self.unknown = 0
        # No storms: this suite asks about single zombies.
        self.table = Table(MIN_AGE_NS, StormRules(burst=1_000_000))

    def start(self):
        """Start the source, and take the first snapshot."""
        self.source.start()
        self.snapshot(())

    def step(self):
        """Poll and tick when one of the two is due, as the engine does."""
        now = boot_ns()
        fd = self.source.fileno()
        readable = fd is not None and select.select([fd], [], [], 0)[0]
        dues = [self.source.next_poll_boot_ns(now), self.table.next_due_boot_ns()]
        if readable or any(due is not None and due <= now for due in dues):
            self._take(self.table.apply(self.source.poll(now), now))
            self._take(self.table.tick(now))

    def snapshot(self, wanted):
        """Reconcile with a snapshot; return parent and child of those identities that are in it."""
        now = boot_ns()
        self._take(self.table.apply(self.source.poll(now), now))
        seen = Seen(self.source.snapshot(), {Identity(*each) for each in wanted})
        self._take(self.table.reconcile(seen, boot_ns()))
        return seen.found

    def lost(self):
        """How much the source says to have lost."""
        losses = self.source.losses()
        return losses.total + losses.forks_lost

    def _take(self, transitions):
        for transition in transitions:
            if isinstance(transition, Detected):
                child = transition.zombie.child
                if child.identity in self.detected:
                    self.doubled.append(child)
                self.detected[child.identity] = child
            elif isinstance(transition, Reaped):
                self.reaped[transition.zombie.child.identity] = transition.lifetime_ns

    def wrong_facts(self, expected, *, older):
        """Return what this source says wrongly of a detected zombie, or says without knowing."""
        said = child_facts(self.detected[Identity(*expected["identity"])])
        wrong = []
        for name in expected.keys() - {"exit_status_in_proc"}:
            value = said[name]
            known = facts.known(self.name, name, older=older)
            truth = expected[f"{name}_in_proc" if known == facts.PROC else name]
            if known == facts.SNAPSHOT and value is None:
                continue
            if value is None and name in LOST and self.lost():
                continue  # it says that something was lost
            if known == facts.MOSTLY:
                self.asked += 1
                if value is None:
                    self.unknown += 1
                    continue
            if known == facts.NO:
                right = value is None
            elif name == "exit_boot_ns":
                right = value is not None and truth[0] <= value <= truth[1]
            else:
                right = value == truth
            if not right:
                wrong.append(
                    f"{name} of {expected['identity'][0]} is {value!r}, true is {truth!r}; "
                    f"the table says known: {known}"
                )
        if self.unknown > 2 + self.asked // 10:
            wrong.append(f"{self.unknown} of {self.asked} facts known mostly were unknown")
        return wrong


class Seen:
    """A snapshot on its way to the table, and what was wanted of it."""

    def __init__(self, snapshot, wanted):
        self.taken_boot_ns = snapshot.taken_boot_ns
        self.found = {}
        self._snapshot = snapshot
        self._wanted = wanted

    def keys(self):
        """Yield the snapshot's keys, and keep what is wanted."""
        for index, key in enumerate(self._snapshot.keys()):
            identity = Identity(*key[:2])
            if identity in self._wanted:
                self.found[identity] = key[2], self._snapshot.child(index)
            yield key

    def child(self, index):
        """Unpack one."""
        return self._snapshot.child(index)


def child_facts(child):
    """Return a child's facts under the names of facts.py, in terms of plain values."""
    own = os.stat("/proc/self/ns/pid").st_ino
    return {
        "identity": list(child.identity),
        "parent_pid": child.parent_pid,
        "exit_status": child.exit_status,
        "vpid": child.vpid,
        "pid_namespace": child.pid_namespace
        and ("own" if child.pid_namespace == own else "another"),
        "uid": child.uid,
        "comm": child.comm,
        "tracer_pid": child.tracer_pid,
        "exit_boot_ns": child.exit_boot_ns,
        "forker": child.forker and child.forker.identity.pid,
        "exit_parent_pid": child.exit_parent_pid,
        "origin": child.origin and str(child.origin),
    }
