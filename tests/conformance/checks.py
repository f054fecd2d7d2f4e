"""What each kind of message of an actor claims, and whether a source agrees.

Each check has two parts: `ready` says whether there is still something to wait for, and `wrong`
returns what is wrong when the waiting is over.
"""

from tracer.model import Identity

from . import facts
from .actors import MIN_AGE_SECONDS


class Zombies:
    """These are dead and unreaped: each is reported, and what is said of it is true."""

    def __init__(self, claimed, older):
        self.claimed = claimed
        self.older = older

    def ready(self, watcher):
        return all(Identity(*each["identity"]) in watcher.detected for each in self.claimed)

    def wrong(self, watcher):
        wrong = []
        in_snapshot = watcher.snapshot(each["identity"] for each in self.claimed)
        for each in self.claimed:
            identity = Identity(*each["identity"])
            if identity in watcher.detected:
                wrong += watcher.wrong_facts(each, older=self.older)
            else:
                wrong.append(f"not detected: {identity}")
            if identity not in in_snapshot:
                wrong.append(f"not in the snapshot: {identity}")
            elif (tracer := in_snapshot[identity][1].tracer_pid) != each["tracer_pid"]:
                wrong.append(f"tracer_pid of {identity} in the snapshot is {tracer}")
        return wrong


class Gone:
    """These were reported, and are reaped: each reaping is reported, with a life of at least the minimum age."""

    def __init__(self, claimed, older):
        self.identities = [Identity(*each) for each in claimed]
        self.older = older
        self.least_ns = 0 if older else MIN_AGE_SECONDS * 1e9

    def ready(self, watcher):
        return all(identity in watcher.reaped for identity in self.identities)

    def wrong(self, watcher):
        wrong = []
        for identity in self.identities:
            life_ns = watcher.reaped.get(identity)
            if life_ns is None:
                wrong.append(f"not reported as reaped: {identity}")
            elif life_ns < self.least_ns:
                wrong.append(f"life of {identity} was {life_ns} ns")
        exits = watcher.source.exits()
        counts = facts.known(watcher.name, "exits") == facts.YES
        if (exits is None) == counts or (exits == 0 and not self.older):
            wrong.append(f"counted {exits} deaths")
        return wrong


class Silent:
    """These are no zombies: none was ever reported, none is in a snapshot."""

    def __init__(self, claimed, older):
        self.identities = [Identity(*each) for each in claimed]

    def ready(self, watcher):
        return True

    def wrong(self, watcher):
        in_snapshot = watcher.snapshot(self.identities)
        return [
            f"reported, but is no zombie: {identity}"
            for identity in self.identities
            if identity in in_snapshot or identity in watcher.detected
        ]


class Parents:
    """A snapshot has these zombies' parents of now."""

    def __init__(self, claimed, older):
        self.parents = {Identity(*each): parent for each, parent in claimed}

    def ready(self, watcher):
        return True

    def wrong(self, watcher):
        in_snapshot = watcher.snapshot(self.parents)
        return [
            f"parent of {identity} is {now}, true is {parent}"
            for identity, parent in self.parents.items()
            if (now := in_snapshot.get(identity, (None, None))[0]) != parent
        ]


class Waits:
    """A process waited so; a source counts that, or says that it does not know."""

    def __init__(self, claimed, older):
        self.identity = Identity(*claimed.pop("identity"))
        self.claimed = claimed

    def ready(self, watcher):
        return True

    def wrong(self, watcher):
        waits = watcher.source.waits(self.identity)
        if facts.known(watcher.name, "waits") == facts.NO:
            return [] if waits is None else [f"claims to know {waits}"]
        if waits is None:
            return ["does not know how the parent waits"]
        return [
            f"waits.{name} is {getattr(waits, name)}, true is {truth}"
            for name, truth in self.claimed.items()
            if getattr(waits, name) != truth
        ]


CHECKS = {
    "zombies": Zombies,
    "gone": Gone,
    "silent": Silent,
    "parents": Parents,
    "waits": Waits,
}
