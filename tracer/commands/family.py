"""The zombies of one parent, from one look: counted, with the oldest and the newest of them."""

import heapq
from array import array
from dataclasses import dataclass, field

from tracer.commands.knowledge import Knowledge
from tracer.model import Child, Identity

_OLDEST = _NEWEST = 12
"""Of a parent with more zombies than both together, these are shown one by one."""


@dataclass(frozen=True, slots=True)
class Family:
    """Zombies of one parent.

    Attributes:
        parent_pid: the parent; None when only one zombie was looked for.
        zombie: the one that was looked for; None when it is not there.
        died: when each died, in boot time; 0 where unknown.
        pids: those of the zombies.
        ends: the oldest and the newest of them, the oldest first.
    """

    parent_pid: int | None
    zombie: Child | None
    died: "array[int]" = field(default_factory=lambda: array("q"))
    pids: "array[int]" = field(default_factory=lambda: array("i"))
    ends: tuple[Child, ...] = ()


def look(knowledge: Knowledge, identity: Identity, parent_pid: int | None) -> Family:
    """Look for a zombie, and for the zombies of one parent.

    Raises:
        TemporaryError, PermanentError: the source could not be read.
    """
    zombie: Child | None = None
    died, pids = array("q"), array("i")
    # Heaps, so that of a million zombies few are unpacked; the index decides between equals.
    oldest: list[tuple[int, int, Child]] = []
    newest: list[tuple[int, int, Child]] = []
    snapshot = knowledge.source.look()
    for index, (pid, start_ticks, parent, live_since) in enumerate(snapshot.keys()):
        sought = (pid, start_ticks) == identity
        if parent != parent_pid and not sought:
            continue
        since = knowledge.saved.dead_since(Identity(pid, start_ticks), live_since)
        child: Child | None = None
        if sought:
            zombie = child = knowledge.saved.merged(snapshot.child(index))
        if parent != parent_pid:
            continue
        died.append(since)
        pids.append(pid)
        for heap, rank, size in ((oldest, -since, _OLDEST), (newest, since, _NEWEST)):
            if len(heap) == size and heap[0][0] >= rank:
                continue
            child = child or knowledge.saved.merged(snapshot.child(index))
            change = heapq.heappush if len(heap) < size else heapq.heapreplace
            change(heap, (rank, index, child))
    by_index = {index: (abs(rank), child) for rank, index, child in (*oldest, *newest)}
    ends = sorted(by_index.items(), key=lambda item: (item[1][0], item[0]))
    return Family(parent_pid, zombie, died, pids, tuple(child for _, (_, child) in ends))
