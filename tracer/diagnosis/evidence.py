"""Gathers the evidence for a diagnosis: a few reads of /proc and one question to the source.

A parent's evidence is gathered once and kept for half a second, so it costs the same for
one of its zombies as for a thousand. A zombie itself is read by the caller, once.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from tracer.diagnosis.facts import is_same
from tracer.diagnosis.parent import KEPT_NS, Parents, ParentView, WaitSource, named
from tracer.diagnosis.rules import diagnose
from tracer.model import Attribution, Cause, Child, Evidence, Identity, Process, Waits, Zombie
from tracer.procfs import cgroup_freezer
from tracer.procfs.fs import ProcFs
from tracer.procfs.parse import Status
from tracer.procfs.zombie import ZombieView


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one zombie.

    Attributes:
        parent: its parent now; None when it could not be read.
        waits: how that parent waits; None when the source does not observe it.
        cause: the diagnosis.
        evidence: all that it is based on; its child has the parent and tracer of now.
    """

    parent: Process | None
    waits: Waits | None
    cause: Cause
    evidence: Evidence


class Investigator:
    """Gathers evidence and diagnoses. Not thread-safe: the engine's thread owns it.

    Args:
        proc: the host's /proc.
        source: asked how parents waited; it may delegate to another source at any time.
        cgroup_root: where cgroup file systems are mounted.
        machine: architecture, for the numbers of system calls.
    """

    def __init__(
        self,
        proc: ProcFs,
        source: WaitSource,
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
        view: ZombieView | None,
    ) -> Finding:
        """Gather the evidence for one zombie and diagnose it.

        Args:
            zombie: as the table has it.
            attribution: the container, pod or systemd unit it belongs to.
            now_boot_ns: now.
            siblings: other zombies of its parent.
            view: as read_zombie() returned it; None when the zombie is gone.
        """
        evidence = self.gather(zombie, attribution, now_boot_ns, siblings, view)
        return Finding(evidence.parent, evidence.waits, diagnose(evidence), evidence)

    def gather(
        self,
        zombie: Zombie,
        attribution: Attribution | None,
        now_boot_ns: int,
        siblings: int,
        view: ZombieView | None,
    ) -> Evidence:
        """Gather the evidence for one zombie; the arguments are those of investigate()."""
        child, status = _as_read(zombie.child, view), view.status if view else None
        of_parent = self.parent(child.parent_pid, now_boot_ns, child.dead_since_boot_ns)
        parent = of_parent.process
        return Evidence(
            now_boot_ns=now_boot_ns,
            child=child,
            parent=parent,
            waits=of_parent.waits,
            attached_boot_ns=self._source.attached_boot_ns,
            age_ns=zombie.age_ns(now_boot_ns),
            siblings=siblings,
            session=view.stat.session if view else None,
            group=view.stat.pgrp if view else None,
            attribution=attribution,
            joined_from_outside=_joined_from_outside(child, view, parent),
            pid_in_parent=_pid_in_parent(child, status, parent),
            exit_signal=view.stat.exit_signal if view else None,
            forker_alive=self._forker_alive(child, parent),
            tracer=named(self._proc, child.tracer_pid),
            parent_tracer=of_parent.tracer,
            blocked_waits=self._parents.blocked_waits(of_parent, child),
            waited_for=of_parent.waited_for,
            parent_unmoved_ns=of_parent.unmoved_ns,
            waits_complete=of_parent.complete,
            gone=view is None or self._reaped_meanwhile(child.identity, of_parent, now_boot_ns),
        )

    def _reaped_meanwhile(self, identity: Identity, parent: ParentView, now_boot_ns: int) -> bool:
        """Return whether the zombie is gone, if its parent waited while it was being read.

        The parent's latest wait call may have reaped it; if not, it left it.
        """
        last = parent.waits.last_boot_ns if parent.waits else None
        if last is None or last < now_boot_ns - KEPT_NS:
            return False
        stat = self._proc.stat(identity.pid)
        return stat is None or stat.start_ticks != identity.start_ticks

    def _forker_alive(self, child: Child, parent: Process | None) -> bool | None:
        """Return whether the process that forked it is alive; its children are adopted if not."""
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


def _as_read(child: Child, view: ZombieView | None) -> Child:
    """Return the child with its parent and tracer of now: both may have changed since it exited."""
    if view is None:
        return child
    tracer_pid = view.status.tracer_pid if view.status else child.tracer_pid
    return replace(child, parent_pid=view.stat.ppid, tracer_pid=tracer_pid)


def _joined_from_outside(
    child: Child, view: ZombieView | None, parent: Process | None
) -> bool | None:
    """Return True when its session shows that it joined its PID namespace from outside.

    A session that was created outside reads as 0 inside. The PID 1 there may be in such a
    session too, and pass it on: then it shows nothing, and the answer is None.
    """
    if view is None or view.status is None or parent is None or not parent.is_init:
        return None
    own, parents = child.pid_namespace, parent.pid_namespace
    if parent.identity.pid == 1 or (own is not None and parents is not None and own != parents):
        # An orphan of an inner PID namespace, adopted by the PID 1 of an outer one.
        return None
    status = view.status
    nested = len(status.vpids) > 1 and len(status.sessions) == len(status.vpids)
    outside = nested and status.sessions[-1] == 0 and view.stat.session != parent.session
    return True if outside else None


def _pid_in_parent(child: Child, status: Status | None, parent: Process | None) -> int | None:
    """Return the zombie's pid as its parent sees it."""
    if parent is None or parent.vpid == parent.identity.pid:
        return child.identity.pid
    vpids = status.vpids if status else ()
    if child.pid_namespace is not None and child.pid_namespace == parent.pid_namespace:
        return child.vpid or (vpids[-1] if vpids else None)
    # The PID 1 of a PID namespace below its parent's.
    inner = len(vpids) >= 2 and vpids[-1] == 1
    if inner:
        return vpids[-2]
    return vpids[-1] if vpids else None
