"""Facts about zombies that the running agent has saved, merged with what is seen now."""

from collections.abc import Iterable

from tracer.model import Child, Identity, merge
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.state.store import StateStore


class SavedFacts:
    """What the agent saved about zombies, by identity.

    A snapshot taken by a command comes after the deaths, so it cannot show exit times,
    forkers and parents at exit. An agent that saw the deaths has saved them.

    Args:
        children: as the agent saved them.
    """

    def __init__(self, children: Iterable[Child] = ()) -> None:
        self._children = {child.identity: child for child in children}

    def __bool__(self) -> bool:
        """Whether anything is saved."""
        return bool(self._children)

    def merged(self, child: Child) -> Child:
        """Return a live child with what is unknown about it filled in from its saved facts."""
        saved = self._children.get(child.identity)
        return child if saved is None else merge(child, saved)

    def dead_since(self, identity: Identity, live_boot_ns: int) -> int:
        """Return when a zombie died, as merged() would show it, without unpacking the child.

        Args:
            identity: the zombie.
            live_boot_ns: from the snapshot's key: the exit, or when it last ran; 0 unknown.
        """
        saved = self._children.get(identity)
        if saved is None or saved.exit_boot_ns is None:
            return live_boot_ns
        return saved.exit_boot_ns


def load(chosen: Options, proc: ProcFs) -> SavedFacts:
    """Read what an agent of this boot saved in --state-dir; empty when there is nothing."""
    state = StateStore(chosen.state_dir, proc.boot_id() or "").load()
    return SavedFacts(saved.child for saved in state.zombies.values())
