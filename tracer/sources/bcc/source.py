"""The bcc source, for kernels without BTF: a header-free program, the rest from /proc.

The program (zombie_bcc.c) keeps in the kernel when processes died and who forked them. Only of
those that have been dead for the minimum age, user space reads /proc: whether the whole process
is dead, its parent, start time and exit code.
"""

import itertools
import time
from typing import NamedTuple

from tracer.clock import NS, boot_ns, ticks
from tracer.errors import PermanentError
from tracer.model import (
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
from tracer.sources.bcc import load
from tracer.sources.bcc.ancestry import Family
from tracer.sources.bcc.load import Program
from tracer.sources.proc.scan import StatSnapshot, child_of, zombie_stats

MAP_ENTRIES = 131_072
"""Tasks alive at once, threads included, whose forker is remembered (100 bytes each)."""
_REPORTED_ENTRIES = 1 << 20
_HOST_PID_NAMESPACE = 4026531836
"""PROC_PID_INIT_INO, include/linux/proc_ns.h."""
_SHARE_OF_A_CORE = 0.05
_SHORTEST_PAUSE_NS = NS // 20
_LONGEST_CHOSEN_PAUSE_NS = NS // 4
_GONE_AT_ONCE = 20_000
_RECHECKED = 2_000
"""Known zombies read again when the kernel skipped a free hook; all are in a snapshot."""
_LONGEST_UNTIL_NEXT_LOOK_NS = 60 * NS


class _Look(NamedTuple):
    """A process that lost a thread at exit_ns and is not dead; when to look at it again."""

    exit_ns: int
    again_boot_ns: int


class BccSource:
    """Sees deaths and forks by a bcc program, everything else in /proc.

    Args:
        procfs: the host's.
        min_age_ns: the age from which a child is a candidate.
        map_entries: tasks alive at once whose forker is remembered.
    """

    name = "bcc"

    def __init__(self, procfs: ProcFs, min_age_ns: int, map_entries: int = MAP_ENTRIES) -> None:
        self.attached_boot_ns: int | None = None
        self._procfs = procfs
        self._min_age_ns = min_age_ns
        self._map_entries = map_entries
        self._pause_ns = min(max(min_age_ns // 10, _SHORTEST_PAUSE_NS), _LONGEST_CHOSEN_PAUSE_NS)
        self._program: Program | None = None
        self._offset_ns = 0
        self._family: Family | None = None
        self._living: dict[int, _Look] = {}
        self._found: list[Observation] = []
        self._next_boot_ns = 0
        self._missed_frees = 0
        self._unreportable = 0

    def start(self) -> None:
        """Compile and attach the program.

        Raises:
            PermanentError: with what is missing and what to do.
        """
        # The program sees the host's pids; in another namespace's /proc they name others.
        if self._procfs.pid_namespace(1) not in {None, _HOST_PID_NAMESPACE}:
            raise PermanentError(
                f"{self._procfs.root} shows another pid namespace than the host's, and BPF sees "
                "the host's pids; run in the host's pid namespace (hostPID: true in the pod's "
                "spec), or mount the host's /proc and name it with --proc-root"
            )
        reported = min(self._procfs.pid_max() or _REPORTED_ENTRIES, _REPORTED_ENTRIES)
        self._program = load.load(self._map_entries, reported)
        if self._program.monotonic:
            self._offset_ns = boot_ns() - time.monotonic_ns()
        self.attached_boot_ns = boot_ns()
        self._family = Family(self._program, self._procfs, self._offset_ns, self.attached_boot_ns)

    def fileno(self) -> int | None:
        """Return None: the state is asked for, not sent."""
        return None

    def next_poll_boot_ns(self, now_boot_ns: int) -> int:  # noqa: ARG002 - part of the contract
        """Return when the state is to be asked for."""
        return self._next_boot_ns

    def poll(self, now_boot_ns: int) -> list[Observation]:
        """Return children that reached the minimum age, and known ones that were reaped.

        Raises:
            PermanentError: the program can no longer be read.
        """
        program = self._running()
        if now_boot_ns >= self._next_boot_ns:
            self._look(program, now_boot_ns)
        for gone_ns, exit_ns, start_ticks, pid, _ in program.gone.take(_GONE_AT_ONCE):
            if not self._still_there(program, pid, start_ticks, exit_ns):
                self._found.append(Gone(Identity(pid, start_ticks), gone_ns + self._offset_ns))
        return self._take()

    def _look(self, program: Program, now_boot_ns: int) -> None:
        """Find who reached the minimum age; the pause until the next time bounds the cost."""
        began_ns = time.thread_time_ns()
        latest = now_boot_ns - self._min_age_ns - self._offset_ns
        aged = {pid: exit_ns for pid, exit_ns in program.deaths.items() if exit_ns <= latest}
        self._living = {pid: look for pid, look in self._living.items() if pid in aged}
        for pid, exit_ns in aged.items():
            look = self._living.get(pid)
            if look is None or look.exit_ns != exit_ns or look.again_boot_ns <= now_boot_ns:
                self._examine(program, pid, exit_ns, now_boot_ns)
        missed = program.missed("free")
        if missed != self._missed_frees:
            self._missed_frees = missed
            for pid, _, _ in itertools.islice(program.reported.items(), _RECHECKED):
                self._drop_if_gone(program, pid)
        used_ns = time.thread_time_ns() - began_ns
        self._next_boot_ns = boot_ns() + max(self._pause_ns, int(used_ns / _SHARE_OF_A_CORE))

    def _take(self) -> list[Observation]:
        found, self._found = self._found, []
        return found

    def _running(self) -> Program:
        if self._program is None:
            raise PermanentError("the bcc program is not attached; start() it first")
        return self._program

    def _examine(self, program: Program, pid: int, exit_ns: int, now_boot_ns: int) -> None:
        """Ask /proc whether the process that lost a thread long ago is dead; report it then."""
        stat = self._procfs.stat(pid)
        if stat is None:
            # Freed, and the free hook was skipped.
            program.deaths.delete(pid)
            program.births.delete(pid)
        elif not stat.is_zombie:
            # It lives on without that thread, or takes its time to die (a large memory): the
            # entry stays, and it is looked at again, less and less often.
            dead_ns = now_boot_ns - self._offset_ns - exit_ns
            again = now_boot_ns + min(dead_ns, _LONGEST_UNTIL_NEXT_LOOK_NS)
            self._living[pid] = _Look(exit_ns, again)
        elif (watched := self._watch(program, stat)) is not None:
            self._found.append(self._unpack(watched))

    def _watch(self, program: Program, stat: Stat) -> Stat | None:
        """Have the free hook tell when a zombie goes; None when it went already."""
        exit_ns = self._exit_ns(program, stat)
        if not program.reported.put(stat.pid, exit_ns or 0, stat.start_ticks):
            self._unreportable += 1
        program.deaths.delete(stat.pid)
        # Only who is there after it was put into `reported` is sure to be told as gone.
        again = self._procfs.stat(stat.pid)
        if again is None or not again.is_zombie or again.start_ticks != stat.start_ticks:
            program.reported.delete(stat.pid)
            return None
        return again

    def _exit_ns(self, program: Program, stat: Stat) -> int | None:
        """Return when the program saw a zombie die, on its own clock; None when it did not."""
        known = program.reported.get(stat.pid)
        if known is not None and known[1] == stat.start_ticks:
            return known[0] or None
        death = program.deaths.get(stat.pid)
        # A death before its birth is that of an earlier process of this pid.
        if death is None or ticks(death[0] + self._offset_ns) < stat.start_ticks:
            return None
        return int(death[0])

    def _unpack(self, stat: Stat) -> Child:
        exit_ns = self._exit_ns(self._running(), stat)
        return child_of(
            self._procfs,
            stat,
            exit_boot_ns=None if exit_ns is None else exit_ns + self._offset_ns,
            forker=self.forker(Identity(stat.pid, stat.start_ticks)),
        )

    def _still_there(self, program: Program, pid: int, start_ticks: int, exit_ns: int) -> bool:
        """Whether the free hook that told a zombie to be gone was an earlier process's."""
        stat = self._procfs.stat(pid)
        if stat is None or not stat.is_zombie or stat.start_ticks != start_ticks:
            return False
        program.reported.put(pid, exit_ns, start_ticks)
        return True

    def _drop_if_gone(self, program: Program, pid: int) -> None:
        """Find a known zombie gone whose free hook was skipped (zombie_bcc.c)."""
        known = program.reported.get(pid)
        stat = self._procfs.stat(pid)
        if known is None or (stat and stat.is_zombie and stat.start_ticks == known[1]):
            return
        program.reported.delete(pid)
        self._found.append(Gone(Identity(pid, known[1]), boot_ns()))

    def snapshot(self) -> Snapshot:
        """Read every zombie's stat in /proc. What is new by it, poll() does not tell again.

        Those whose death was seen and who are younger than the minimum age are left to poll():
        most of them will be reaped in time.

        Raises:
            PermanentError: the program can no longer be read.
        """
        program = self._running()
        taken_boot_ns = boot_ns()
        latest = taken_boot_ns - self._min_age_ns - self._offset_ns
        young = {pid for pid, exit_ns in program.deaths.items() if exit_ns > latest}
        stats = list(zombie_stats(self._procfs, set(self._procfs.pids()) - young))
        known = {pid: start_ticks for pid, _, start_ticks in program.reported.items()}
        # Who died while the others were read is young as well.
        stats = [
            stat
            for stat in stats
            if known.pop(stat.pid, None) == stat.start_ticks
            or ((self._exit_ns(program, stat) or 0) <= latest and self._watch(program, stat))
        ]
        for pid in known:
            self._drop_if_gone(program, pid)
        died = {
            pid: exit_ns + self._offset_ns
            for pid, exit_ns, _ in program.reported.items()
            if exit_ns
        }
        return StatSnapshot(taken_boot_ns, stats, self._unpack, died)

    def losses(self) -> Losses:
        """Return what found no room in the program's maps, and the hooks that were skipped."""
        program = self._running()
        return Losses(
            map_full=program.counters.sum(load.DEATHS_FULL) + self._unreportable,
            ring_full=program.counters.sum(load.GONE_FULL),
            recursion_misses=program.missed("exit"),
            parse_errors=self._procfs.unparsable,
            forks_lost=program.counters.sum(load.BIRTHS_FULL) + program.missed("fork"),
        )

    def exits(self) -> int | None:
        """Return the number of processes that died; before Linux 6.16, of their leaders."""
        return self._running().counters.sum(load.EXITS)

    def waits(self, identity: Identity) -> Waits | None:
        """Return how a process waited; its reaped children are counted where it forked them."""
        self._running()
        return None if self._family is None else self._family.waits(identity)

    def forker(self, identity: Identity) -> Forker | None:
        """Return who forked that process; None when it was forked before start()."""
        self._running()
        return None if self._family is None else self._family.forker(identity)

    def close(self) -> None:
        """Detach."""
        if self._program is not None:
            self._program.bpf.cleanup()
            self._program = None
        self._procfs.close()
