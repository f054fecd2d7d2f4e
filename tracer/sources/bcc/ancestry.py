"""Which process forked which, and how processes wait, as the bcc program saw it."""

from tracer.clock import TICK_NS, ticks
from tracer.model import Forker, Identity, Waits
from tracer.procfs.fs import ProcFs
from tracer.procfs.parse import text
from tracer.sources.bcc.load import Program


class Ancestry:
    """Answers from the program's maps and /proc.

    Args:
        program: attached just now.
        procfs: the host's.
        offset_ns: from the program's clock to the boot clock.
        attached_boot_ns: since when forks and waits are seen.
    """

    def __init__(
        self, program: Program, procfs: ProcFs, offset_ns: int, attached_boot_ns: int
    ) -> None:
        self._program = program
        self._procfs = procfs
        self._offset_ns = offset_ns
        self._attached_boot_ns = attached_boot_ns
        # A process that lives now may fork later and be gone when we are asked: its start time
        # is kept here, that of later ones by the program.
        stats = (procfs.stat(pid) for pid in procfs.pids())
        self._before = {s.pid: s.start_ticks for s in stats if s and not s.is_zombie}

    def waits(self, identity: Identity) -> Waits:
        """Return how a process waited; its reaped children are counted where it forked them."""
        fields = self._program.waits.get(identity.pid) or (0,) * 9
        any_, specific, last, last_any, reaped, late, late_ns, wanted, _ = fields
        born_boot_ns = identity.start_ticks * TICK_NS
        return Waits(
            any=any_,
            specific=specific,
            last_boot_ns=last + self._offset_ns if last else None,
            last_any_boot_ns=last_any + self._offset_ns if last_any else None,
            last_specific_pid=wanted or None,
            reaped=reaped,
            reaped_late=late,
            reaped_late_ns=late_ns,
            watched_since_boot_ns=max(self._attached_boot_ns, born_boot_ns),
        )

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that process; None when that was not seen."""
        birth = self._program.births.get(identity.pid)
        if birth is None:
            return None
        fork_ns, forker_start_ns, pid, _, comm = birth
        # The hook runs some microseconds after the kernel noted the start time.
        if not 0 <= ticks(fork_ns + self._offset_ns) - identity.start_ticks <= 1:
            return None
        start_ticks = self._start_of_forker(pid, forker_start_ns, identity)
        if start_ticks is None:
            return None
        return Forker(Identity(pid, start_ticks), text(comm.split(b"\0", 1)[0]))

    def _start_of_forker(self, pid: int, start_ns: int, child: Identity) -> int | None:
        """Return the start of a forker: exact while it is in /proc, else good to a tick."""
        stat = self._procfs.stat(pid)
        # A process with its pid that is older than its child is the same one.
        if stat is not None and stat.start_ticks < child.start_ticks:
            return stat.start_ticks
        return ticks(start_ns + self._offset_ns) if start_ns else self._before.get(pid)
