"""The zombies that the bcc program reports the reaping of, and what it knows of their deaths."""

from tracer.clock import boot_ns, ticks
from tracer.model import Gone, Identity
from tracer.procfs.fs import ProcFs, Stat
from tracer.sources.bcc.load import Program


class Reported:
    """The program's map `reported`, kept true by reading /proc.

    Args:
        program: the attached one.
        procfs: the host's.
        offset_ns: from the program's clock to the boot clock.

    Attributes:
        no_room: zombies whose reaping the program will not report.
    """

    def __init__(self, program: Program, procfs: ProcFs, offset_ns: int) -> None:
        self._program = program
        self._procfs = procfs
        self._offset_ns = offset_ns
        self.no_room = 0

    def watch(self, stat: Stat) -> Stat | None:
        """Have the free hook report when a zombie goes; None when it went already."""
        program = self._program
        exit_ns = self.exit_ns(stat)
        if not program.reported.put(stat.pid, exit_ns or 0, stat.start_ticks):
            self.no_room += 1
        program.deaths.delete(stat.pid)
        # Only one that is there after it was put into `reported` is sure to be reported gone.
        again = self._procfs.stat(stat.pid)
        if again is None or not again.is_zombie or again.start_ticks != stat.start_ticks:
            program.reported.delete(stat.pid)
            return None
        return again

    def exit_ns(self, stat: Stat) -> int | None:
        """Return when the program saw a zombie die, on its own clock; None when it did not."""
        known = self._program.reported.get(stat.pid)
        if known is not None and known[1] == stat.start_ticks:
            return known[0] or None
        death = self._program.deaths.get(stat.pid)
        # A death before its birth is that of an earlier process of this pid.
        if death is None or ticks(death[0] + self._offset_ns) < stat.start_ticks:
            return None
        return int(death[0])

    def gone(self, most: int) -> list[Gone]:
        """Take the reapings that the free hook reported, at most so many."""
        found = []
        for gone_ns, exit_ns, start_ticks, pid, _ in self._program.gone.take(most):
            stat = self._procfs.stat(pid)
            if stat is not None and stat.is_zombie and stat.start_ticks == start_ticks:
                # That was the release of an earlier process of this pid.
                self._program.reported.put(pid, exit_ns, start_ticks)
            else:
                found.append(Gone(Identity(pid, start_ticks), gone_ns + self._offset_ns))
        return found

    def drop_if_gone(self, pid: int) -> Gone | None:
        """Return a zombie that is gone although its free hook was skipped (zombie.c)."""
        known = self._program.reported.get(pid)
        stat = self._procfs.stat(pid)
        if known is None or (stat and stat.is_zombie and stat.start_ticks == known[1]):
            return None
        self._program.reported.delete(pid)
        return Gone(Identity(pid, known[1]), boot_ns())
