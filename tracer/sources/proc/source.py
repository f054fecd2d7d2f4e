"""The source that needs no BPF: it scans /proc, and counts ages from the first sight of a child."""

import itertools
import time
from collections import deque
from collections.abc import Sequence

from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError
from tracer.model import (
    BlockedWait,
    Child,
    Forker,
    Gone,
    Identity,
    Losses,
    Observation,
    Snapshot,
    Waits,
)
from tracer.procfs.fs import ProcFs, Stat
from tracer.sources.proc import scan
from tracer.sources.proc.scan import StatSnapshot, child_of, zombie_stats

_SHARE_OF_A_CORE = 0.02
"""Scanning never uses more: the pause after a scan is that much longer than it took."""
_SHORTEST_PAUSE_NS = NS // 10
_LONGEST_CHOSEN_PAUSE_NS = NS
"""A zombie is found this long after its minimum age at the latest, unless scanning takes long."""
_MARGIN_NS = NS // 50
"""The caller reads its clock this much before a snapshot at most."""
_RECHECKED = 256
"""Known zombies whose stat is read again in each scan, in turn (all are in a snapshot)."""


def _pause_ns(min_age_ns: int) -> int:
    return min(max(min_age_ns // 10, _SHORTEST_PAUSE_NS), _LONGEST_CHOSEN_PAUSE_NS)


class ProcSource:
    """Finds zombies by scanning.

    One listing of /proc and one read of `stat` for each process that is not a known zombie.
    Of known ones only a few are read again each time, so that 300,000 of them cost a listing;
    a pid that was reaped and given out anew between two scans is noticed in its turn.

    Args:
        procfs: where to look.
        min_age_ns: the age from which a child counts; decides how often to look.
    """

    name = "proc"

    def __init__(self, procfs: ProcFs, min_age_ns: int) -> None:
        self.attached_boot_ns: int | None = None
        self._procfs = procfs
        self._min_age_ns = min_age_ns
        self._pause_ns = _pause_ns(min_age_ns)
        self._known: dict[int, int] = {}  # pid → start_ticks, oldest check first
        self._young: deque[tuple[int, int]] = deque()  # (first seen, pid)
        self._next_boot_ns = 0

    def start(self) -> None:
        """Check that other users' processes can be seen.

        Raises:
            PermanentError: the root is not a proc file system, or it hides processes.
        """
        # Pid 1 is in every pid namespace; where it cannot be read, others' zombies cannot
        # either, and "no zombies" would be a lie.
        if self._procfs.stat(1) is None:
            raise PermanentError(
                f"{self._procfs.root} hides other users' processes (mount option hidepid); "
                "run with CAP_SYS_PTRACE, or in the group of the mount option gid"
            )

    def fileno(self) -> int | None:
        """Return None: /proc gives no notice of a death."""
        return None

    def next_poll_boot_ns(self, now_boot_ns: int) -> int:  # noqa: ARG002 - part of the contract
        """Return when the next scan is due."""
        return self._next_boot_ns

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Scan if it is time; return zombies seen for the first time and those that went.

        Raises:
            PermanentError: the proc root is gone.
        """
        found = self._reaped_in_time(now_boot_ns)
        if now_boot_ns >= self._next_boot_ns:
            found += self._scan(_RECHECKED, now_boot_ns)[1]
        return found

    def _reaped_in_time(self, now_boot_ns: int) -> list[Observation]:
        """Look again at zombies that reach the minimum age: one may be gone since the last scan."""
        gone: list[Observation] = []
        while self._young and self._young[0][0] + self._min_age_ns <= now_boot_ns:
            _, pid = self._young.popleft()
            stat = self._procfs.stat(pid)
            start_ticks = self._known.get(pid)
            if start_ticks is None or (
                stat is not None and stat.is_zombie and stat.start_ticks == start_ticks
            ):
                continue
            del self._known[pid]
            gone.append(Gone(Identity(pid, start_ticks), boot_ns()))
        return gone

    def set_min_age(self, min_age_ns: int) -> None:
        """Scan as often as that minimum age needs; poll() returns children of any age."""
        self._min_age_ns = min_age_ns
        self._pause_ns = _pause_ns(min_age_ns)
        self._next_boot_ns = 0

    def young(self, now_boot_ns: int) -> Sequence[Child]:  # noqa: ARG002 - part of the contract
        """Return nothing: zombies below the minimum age are not followed."""
        return ()

    def snapshot(self) -> Snapshot:
        """Read every zombie's stat. What is new or gone in it, poll() does not return again."""
        taken_boot_ns = boot_ns()
        stats, _ = self._scan(len(self._known), taken_boot_ns - _MARGIN_NS)
        return StatSnapshot(taken_boot_ns, stats, self._unpack)

    def look(self) -> Snapshot:
        """Read every zombie's stat, without an effect on what poll() and snapshot() return."""
        return scan.look(self._procfs.root, {}, child_of)

    def _unpack(self, stat: Stat) -> Child:
        return child_of(self._procfs, stat)

    def _scan(self, rechecked: int, seen_boot_ns: int) -> tuple[list[Stat], list[Observation]]:
        """Look at all processes but known zombies, and at so many of those.

        Args:
            rechecked: how many of those.
            seen_boot_ns: from when on the caller counts the age of new ones.

        Returns:
            the zombies among those read, and what changed.
        """
        began_ns = time.thread_time_ns()
        known = self._known
        listed = set(self._procfs.pids())
        again = list(itertools.islice(known, rechecked))
        suspects = itertools.chain(listed - known.keys(), again)
        zombies = {stat.pid: stat for stat in zombie_stats(self._procfs, suspects)}
        gone = known.keys() - listed
        for pid in again:
            stat = zombies.get(pid)
            if stat is None or stat.start_ticks != known[pid]:
                gone.add(pid)
            else:
                known[pid] = known.pop(pid)  # to the end of the queue
        now = boot_ns()
        changes: list[Observation] = [Gone(Identity(pid, known.pop(pid)), now) for pid in gone]
        for stat in zombies.values():
            if stat.pid not in known:
                known[stat.pid] = stat.start_ticks
                self._young.append((seen_boot_ns, stat.pid))
                changes.append(self._unpack(stat))
        used_ns = time.thread_time_ns() - began_ns
        self._next_boot_ns = now + max(self._pause_ns, int(used_ns / _SHARE_OF_A_CORE))
        return list(zombies.values()), changes

    def losses(self) -> Losses:
        """Return the number of stat lines that could not be parsed."""
        return Losses(parse_errors=self._procfs.unparsable)

    def exits(self) -> int | None:
        """Return None: most deaths are never seen."""
        return None

    def waits(self, identity: Identity) -> Waits | None:  # noqa: ARG002 - part of the contract
        """Return None: wait calls are not seen."""
        return None

    def forker(self, identity: Identity) -> Forker | None:  # noqa: ARG002 - part of the contract
        """Return None: /proc knows parents, not forkers."""
        return None

    def blocked_waits(self, identity: Identity) -> tuple[BlockedWait, ...] | None:  # noqa: ARG002 - part of the contract
        """Return None: only /proc/PID/syscall shows them."""
        return None

    def close(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._young.clear()
        self._procfs.close()
