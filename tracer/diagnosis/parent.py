"""What is known of a parent: gathered once and kept for half a second.

A thousand zombies of one parent cost as much reading of that parent as one.
"""

import os
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from tracer.model import BlockedWait, Child, Forker, Identity, Losses, Process, WaitFor, Waits
from tracer.procfs import cgroup_freezer, wait_calls
from tracer.procfs.dstate import UninterruptibleSleep
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup

KEPT_NS = 500_000_000
"""How long the evidence about a parent is used."""
_PARENTS_KEPT = 1024
_THREADS_ASKED = 256
"""Threads of a parent whose system call is read; a waiting one is seldom among more."""


class WaitSource(Protocol):
    """What a diagnosis asks of a source. It may delegate to whichever source is current."""

    @property
    def name(self) -> str:
        """core, bcc or proc."""

    @property
    def attached_boot_ns(self) -> int | None:
        """Since when forks and exits are observed; None when they are not."""

    def waits(self, identity: Identity) -> Waits | None:
        """Return how that process waited; None when not observed."""

    def forker(self, identity: Identity) -> Forker | None:
        """Return which process forked that living one; None when not observed."""

    def blocked_waits(self, identity: Identity) -> tuple[BlockedWait, ...] | None:
        """Return the wait calls in which that process is now; None when unknown."""

    def losses(self) -> Losses:
        """Return what was lost since the source started."""


class ParentView(NamedTuple):
    """What is known of one parent."""

    gathered_boot_ns: int
    process: Process | None
    waits: Waits | None = None
    blocked: tuple[BlockedWait, ...] = ()
    waited_for: Process | None = None
    tracer: Process | None = None
    complete: bool = True
    unmoved_ns: int | None = None


class _Key(NamedTuple):
    """Which evidence is kept: what one source observed says nothing about the next one."""

    pid: int
    source: str
    attached_boot_ns: int | None


class Parents:
    """Reads parents. Not thread-safe.

    Args:
        proc: the host's /proc.
        source: asked how they waited.
        cgroup_root: where cgroup file systems are mounted.
        machine: architecture, for the numbers of system calls.
    """

    def __init__(
        self, proc: ProcFs, source: WaitSource, *, cgroup_root: Path, machine: str | None = None
    ) -> None:
        self._proc = proc
        self._source = source
        self._cgroup_root = cgroup_root
        self._machine = machine or os.uname().machine
        self._sleep = UninterruptibleSleep(proc)
        self._views: OrderedDict[_Key, ParentView] = OrderedDict()

    def view(self, pid: int, now_boot_ns: int, died_boot_ns: int | None = None) -> ParentView:
        """Return what is known of a parent, gathered after that death and not long ago."""
        key = _Key(pid, self._source.name, self._source.attached_boot_ns)
        kept = self._views.get(key)
        if kept is not None:
            fresh = now_boot_ns - kept.gathered_boot_ns < KEPT_NS
            if fresh and (died_boot_ns or 0) <= kept.gathered_boot_ns:
                return kept
        view = self._read(pid, now_boot_ns)
        self._views[key] = view
        self._views.move_to_end(key)
        if len(self._views) > _PARENTS_KEPT:
            self._views.popitem(last=False)
        return view

    def _read(self, pid: int, now_boot_ns: int) -> ParentView:
        process = self._proc.process(pid) if pid else None
        if process is None:
            return ParentView(now_boot_ns, None)
        waits = self._source.waits(process.identity)
        membership = self._membership(process.identity)
        frozen = cgroup_freezer.is_frozen(membership, self._wchan(pid), self._cgroup_root)
        return ParentView(
            gathered_boot_ns=now_boot_ns,
            process=replace(process, frozen=frozen, cgroup_path=_path(membership)),
            waits=waits,
            blocked=self._blocked(process),
            waited_for=self._waited_for(process, waits),
            tracer=named(self._proc, process.tracer_pid),
            complete=self._complete(process.identity),
            unmoved_ns=self._sleep.unmoved_ns(process, now_boot_ns),
        )

    def _complete(self, identity: Identity) -> bool:
        """Return whether every wait of that process was counted.

        The core program counts waits in the entry that it makes at the fork: once that
        found room, so does every wait.
        """
        losses = self._source.losses()
        if losses.waits_skipped:
            return False
        if not losses.waits_lost:
            return True
        return self._source.name == "core" and self._source.forker(identity) is not None

    def _membership(self, identity: Identity) -> cgroup_freezer.Membership:
        """Return its cgroups; none when another process has the pid by now."""
        read = read_cgroup(self._proc, identity.pid)
        own = read is not None and read.start_ticks == identity.start_ticks
        return cgroup_freezer.parse_membership(read.text if read and own else b"")

    def _wchan(self, pid: int, tid: int | None = None) -> str | None:
        """Return where a task sleeps in the kernel; None when it runs, or that is hidden."""
        raw = self._proc.read(f"{pid}/task/{tid or pid}/wchan")
        name = raw.decode("ascii", "replace") if raw else ""
        return name if name not in {"", "0"} else None

    def _blocked(self, process: Process) -> tuple[BlockedWait, ...]:
        """Return the wait calls in which its threads are now.

        A stopped or frozen process has left the kernel's queue, and enters the call again when
        it goes on: /proc still shows the call.
        """
        return self._source.blocked_waits(process.identity) or self._blocked_by_proc(process)

    def _blocked_by_proc(self, process: Process) -> tuple[BlockedWait, ...]:
        """Return those that /proc shows: of other users' processes only to CAP_DAC_OVERRIDE."""
        pid = process.identity.pid
        calls = []
        tids = [pid] if process.threads == 1 else self._proc.threads(pid)[:_THREADS_ASKED]
        for tid in tids:
            raw = self._proc.read(f"{pid}/task/{tid}/syscall")
            call = wait_calls.parse_syscall(raw, self._machine) if raw else None
            # Programs of another architecture use these numbers for other calls.
            if call is not None and self._wchan(pid, tid) in {None, "do_wait"}:
                own_children = call.options & wait_calls.WNOTHREAD
                calls.append(call._replace(of_thread=tid if own_children else None))
        return tuple(calls)

    def blocked_waits(self, view: ParentView, child: Child) -> tuple[BlockedWait, ...]:
        """Return the wait calls of a parent, as they concern one child.

        A call with __WNOTHREAD is for the children of the thread that waits. Where the kernel
        does not list those (CONFIG_PROC_CHILDREN), the child is taken for one of them.
        """
        return tuple(
            BlockedWait(WaitFor.THREAD, None, call.options, call.of_thread)
            if call.of_thread is not None and self._is_of_another_thread(call.of_thread, child)
            else call
            for call in view.blocked
        )

    def _is_of_another_thread(self, tid: int, child: Child) -> bool:
        children = self._proc.read(f"{child.parent_pid}/task/{tid}/children")
        return children is not None and str(child.identity.pid).encode() not in children.split()

    def _waited_for(self, process: Process, waits: Waits | None) -> Process | None:
        """Return the child that its latest wait call named, if it is still there, dead or alive."""
        wanted = named(self._proc, waits.last_specific_pid) if waits else None
        return wanted if wanted and wanted.parent_pid == process.identity.pid else None


def _path(membership: cgroup_freezer.Membership) -> str | None:
    paths = (membership.unified, membership.freezer)
    return next((path for path in paths if path not in {None, "/"}), membership.unified)


def named(proc: ProcFs, pid: int | None) -> Process | None:
    """Return only name, state, parent and threads of a process."""
    stat = proc.stat(pid) if pid else None
    if stat is None:
        return None
    return Process(
        Identity(stat.pid, stat.start_ticks),
        stat.comm,
        stat.state,
        stat.ppid,
        threads=stat.num_threads,
    )
