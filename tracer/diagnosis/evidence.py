"""Gathers what a diagnosis looks at: a few reads of /proc and one question to the source.

What a parent's evidence is costs the same for one zombie of it as for a thousand: it
is gathered once and kept for half a second.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from tracer.diagnosis.facts import is_same
from tracer.diagnosis.parent import KEPT_NS, Parents, ParentView, named
from tracer.diagnosis.rules import diagnose
from tracer.model import (
    Attribution,
    Cause,
    Child,
    Evidence,
    Identity,
    Process,
    Source,
    Waits,
    Zombie,
)
from tracer.procfs import cgroup_freezer
from tracer.procfs.fs import ProcFs
from tracer.procfs.parse import Stat, Status


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one zombie.

    Attributes:
        parent: its parent now; None when it could not be read.
        waits: how that parent waits; None when the source cannot see it.
        cause: the diagnosis.
        evidence: all that it looked at; its child has the parent and tracer of now.
    """

    parent: Process | None
    waits: Waits | None
    cause: Cause
    evidence: Evidence


class Investigator:
    """Looks at zombies and their parents. Not thread-safe: the engine's thread owns it.

    Args:
        proc: the host's /proc.
        source: asked how parents waited.
        cgroup_root: where cgroup file systems are mounted.
        machine: architecture, for the numbers of system calls.
    """

    def __init__(
        self,
        proc: ProcFs,
        source: Source,
        *,
        cgroup_root: Path = cgroup_freezer.CGROUP_ROOT,
        machine: str | None = None,
    ) -> None:
        self._proc = proc
        self._source = source
        self._parents = Parents(proc, source, cgroup_root=cgroup_root, machine=machine)

    def parent(self, pid: int, now_boot_ns: int, died_boot_ns: int | None = None) -> ParentView:
        """Return what is known of a parent, gathered after that death and not long ago."""
        return self._parents.view(pid, now_boot_ns, died_boot_ns)

    def investigate(
        self,
        zombie: Zombie,
        attribution: Attribution | None,
        now_boot_ns: int,
        siblings: int,
    ) -> Finding:
        """Gather the evidence for one zombie and diagnose it.

        Args:
            zombie: as the table has it.
            attribution: whose it is.
            now_boot_ns: now.
            siblings: other zombies of its parent.
        """
        evidence = self.gather(zombie, attribution, now_boot_ns, siblings)
        return Finding(evidence.parent, evidence.waits, diagnose(evidence), evidence)

    def gather(
        self,
        zombie: Zombie,
        attribution: Attribution | None,
        now_boot_ns: int,
        siblings: int,
    ) -> Evidence:
        """Gather the evidence for one zombie."""
        child = zombie.child
        stat, status = self._own(child.identity)
        if stat is not None and status is not None:
            # The ring buffer tells the parent at death; it may have died since.
            child = replace(child, parent_pid=stat.ppid, tracer_pid=status.tracer_pid)
        view = self.parent(child.parent_pid, now_boot_ns, child.dead_since_boot_ns)
        parent = view.process
        gone = stat is None or self._reaped_meanwhile(child.identity, view, now_boot_ns)
        return Evidence(
            now_boot_ns=now_boot_ns,
            child=child,
            parent=parent,
            waits=view.waits,
            source=self._source.name,
            attached_boot_ns=self._source.attached_boot_ns,
            age_ns=zombie.age_ns(now_boot_ns),
            siblings=siblings,
            session=stat.session if stat else None,
            group=stat.pgrp if stat else None,
            attribution=attribution,
            entered=_entered(child, stat, status, parent),
            pid_in_parent=_pid_in_parent(child, status, parent),
            exit_signal=stat.exit_signal if stat else None,
            forker_alive=self._forker_alive(child, parent),
            tracer=named(self._proc, child.tracer_pid),
            parent_tracer=view.tracer,
            blocked_waits=view.blocked,
            waited_for=view.waited_for,
            parent_unmoved_ns=view.unmoved_ns,
            waits_complete=view.complete,
            gone=gone,
        )

    def _reaped_meanwhile(self, identity: Identity, view: ParentView, now_boot_ns: int) -> bool:
        """Look again when the parent waited at about the time when it was looked at.

        Its newest wait call may have reaped this one; else it passed it over.
        """
        last = view.waits.last_boot_ns if view.waits else None
        if last is None or last < now_boot_ns - KEPT_NS:
            return False
        stat = self._proc.stat(identity.pid)
        return stat is None or stat.start_ticks != identity.start_ticks

    def _own(self, identity: Identity) -> tuple[Stat | None, Status | None]:
        """Read the zombie itself; nothing when it is gone or its pid taken."""
        stat = self._proc.stat(identity.pid)
        if stat is None or stat.start_ticks != identity.start_ticks:
            return None, None
        return stat, self._proc.status(identity.pid)

    def _forker_alive(self, child: Child, parent: Process | None) -> bool | None:
        """Tell whether who forked it lives; its children are given away when it dies."""
        if child.forker is None:
            return None
        identity = child.forker.identity
        if parent is not None and is_same(identity, parent.identity):
            return True
        stat = self._proc.stat(identity.pid)
        return (
            stat is not None
            and is_same(identity, Identity(identity.pid, stat.start_ticks))
            and not stat.is_zombie
        )


def _entered(
    child: Child, stat: Stat | None, status: Status | None, parent: Process | None
) -> bool | None:
    """Tell from its session that it entered its pid namespace from outside; else None.

    A session made outside shows as 0 inside. Its init may be in such a session too, and
    hand it down.
    """
    if stat is None or status is None or parent is None or not parent.is_init:
        return None
    own, parents = child.pid_namespace, parent.pid_namespace
    if parent.identity.pid == 1 or (own is not None and parents is not None and own != parents):
        # An orphan of an inner pid namespace, given to the init of an outer one.
        return None
    nested = len(status.vpids) > 1 and len(status.sessions) == len(status.vpids)
    outside = nested and status.sessions[-1] == 0 and stat.session != parent.session
    return True if outside else None


def _pid_in_parent(child: Child, status: Status | None, parent: Process | None) -> int | None:
    """Return the zombie's pid as its parent sees it."""
    if parent is None or parent.vpid == parent.identity.pid:
        return child.identity.pid
    vpids = status.vpids if status else ()
    if child.pid_namespace is not None and child.pid_namespace == parent.pid_namespace:
        return child.vpid or (vpids[-1] if vpids else None)
    # The init of a pid namespace below its parent's.
    inner = len(vpids) >= 2 and vpids[-1] == 1
    if inner:
        return vpids[-2]
    return vpids[-1] if vpids else None
