"""Which process a parent's pid stands for. Pure: who can read /proc is asked."""

from collections.abc import Callable

from tracer.model import UNKNOWN_TICKS, Identity

ParentIdentity = Callable[[int], Identity | None]
"""Returns the living process that has a pid; None when there is none, or it cannot be read."""


class Parents:
    """Identities of parents, asked for once per parent and pass.

    Args:
        ask: reads the identity.
    """

    def __init__(self, ask: ParentIdentity) -> None:
        self._ask = ask
        self._asked: dict[int, Identity | None] = {}
        self._remembered: dict[int, Identity] = {}

    def begin_pass(self) -> None:
        """Ask again from now on: a parent may have died since."""
        self._asked.clear()

    def of(self, pid: int, child_start_ticks: int) -> Identity:
        """Return the parent with that pid of a child that started then.

        Where the parent is gone or cannot be read, that is the remembered process with this
        pid, or else one with UNKNOWN_TICKS. A process that started later than the child is
        not its parent: it took the pid.
        """
        found = self._read(pid)
        if found is None or found.start_ticks > child_start_ticks:
            found = self._remembered.get(pid)
        if found is None or found.start_ticks > child_start_ticks:
            return Identity(pid, UNKNOWN_TICKS)
        return found

    def now(self, pid: int) -> Identity:
        """Return the process that has the pid now; as of() where it cannot be read."""
        found = self._read(pid) or self._remembered.get(pid)
        return Identity(pid, UNKNOWN_TICKS) if found is None else found

    def gone(self, parent: Identity) -> bool:
        """Return whether that process has died, as far as can be known."""
        return parent.start_ticks != UNKNOWN_TICKS and self._read(parent.pid) != parent

    def known(self, pid: int) -> bool:
        """Return whether a process with this pid is remembered."""
        return pid in self._remembered

    def remember(self, parent: Identity) -> None:
        """Remember a process that has a storm, until forget()."""
        self._remembered[parent.pid] = parent

    def forget(self, parent: Identity) -> None:
        """Forget one whose storm is over."""
        if self._remembered.get(parent.pid) == parent:
            del self._remembered[parent.pid]

    def _read(self, pid: int) -> Identity | None:
        try:
            return self._asked[pid]
        except KeyError:
            found = self._asked[pid] = self._ask(pid)
            return found
