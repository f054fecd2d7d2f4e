"""From a dead child to its container, pod or systemd unit, by its cgroup.

The cgroup is taken from where it can be trusted most: from the kernel's own task, else
from the zombie's /proc/PID/cgroup, else from its living parent's. The kernel prints `/`
for an exiting task in every cgroup v1 hierarchy (proc_cgroup_show, kernel/cgroup/
cgroup.c: only the default hierarchy, or a task that is not PF_EXITING, gets its path),
so that on a v1 node the third is often all there is.

Where the kubelet of this node puts its pods is derived once, and again when a pod that
the API lists is named elsewhere.

A pid may be in use again by the time its files are read: a cgroup counts only if the
start time that was read after it is that of the process in question.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce

from tracer.attribution import cgroup
from tracer.attribution.pod_cgroups import PodCgroups
from tracer.attribution.pod_search import PodSearch, is_in_pod
from tracer.clock import NS, boot_ns
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.node_logs import NodeLogs
from tracer.model import (
    Attribution,
    Cgroup,
    CgroupOrigin,
    Child,
    Container,
    Identity,
    Workload,
    WorkloadSource,
)
from tracer.procfs.identity import CgroupReading
from tracer.procfs.zombie import ZombieView

_AWAIT_NS = 5 * NS
"""How long a report may wait for a pod that the watch has not shown yet."""

_AWAITED_LIMIT = 4096


class Attributor:
    """Finds the container and pod of a process. Not thread-safe: the engine's thread owns it.

    Args:
        read_cgroup: reads /proc/PID/cgroup; None when it cannot be read.
        index: pods known from the API; None without Kubernetes.
        node_logs: names from the node's log folders; None without.
        detect: finds where the kubelet of this node puts its pods (PodSearch).
        outside: called once for a pod of the API whose cgroup is elsewhere (PodSearch).
        now_boot_ns: the clock that bounds waiting.
    """

    def __init__(
        self,
        read_cgroup: Callable[[int], CgroupReading | None],
        index: PodIndex | None,
        node_logs: NodeLogs | None,
        *,
        detect: Callable[[], PodCgroups] = PodCgroups,
        outside: Callable[[str, str, PodCgroups], None] = lambda *_: None,
        now_boot_ns: Callable[[], int] = boot_ns,
    ) -> None:
        self._read_cgroup = read_cgroup
        self._index = index
        self._node_logs = node_logs
        self._now_boot_ns = now_boot_ns
        self._first_asked: dict[Container, int] = {}
        self._search = PodSearch(detect, index, outside, now_boot_ns)

    def attribute(
        self, child: Child, parent_pid: int | None, view: ZombieView | None = None
    ) -> Attribution:
        """Attribute a dead child; reads /proc only where that could say more.

        Args:
            child: the zombie.
            parent_pid: its living parent, None when it has none that can be read.
            view: the zombie's files, where they were read already.
        """
        own = child.cgroup
        if own is not None and not self._search.knows_kernel_paths:
            own = self._search.kernels(own, self._own(child.identity, view))
        if own is None or cgroup.is_root(own.path):
            read = self._own(child.identity, view)
            if read is not None and (own is None or not cgroup.is_root(read.path)):
                own = Cgroup(read.path, CgroupOrigin.ZOMBIE)
        if (own is None or self._search.find(own).container is None) and parent_pid:
            own = self._from_parent(own, parent_pid, child.identity)
        return self.attribute_cgroup(own)

    def attribute_process(self, identity: Identity) -> Attribution:
        """Attribute a living process by its own /proc/PID/cgroup; empty when it is gone."""
        read = self._own(identity, None)
        return self.attribute_cgroup(
            None if read is None else Cgroup(read.path, CgroupOrigin.ZOMBIE)
        )

    def attribute_cgroup(self, found: Cgroup | None) -> Attribution:
        """Attribute what is in a cgroup, by the names that are known now; None is empty."""
        if found is None:
            return Attribution()
        container, node_made = self._search.find_again(found)
        if container is None or (not node_made and self._is_a_pods(container)):
            return Attribution(cgroup=found, unit=cgroup.systemd_unit(self._search.path(found)))
        if not node_made:
            return Attribution(cgroup=found, container=container)
        if self._index is not None and self._index.contradicts(container):
            return Attribution(cgroup=found)
        workload = self._workload(container)
        if container.runtime is None and self._index is not None:
            container = replace(container, runtime=self._index.runtime(container))
        return Attribution(cgroup=found, container=container, workload=workload)

    def awaiting_pod(self, attribution: Attribution) -> bool:
        """Return whether a pod was found whose names the watch might still show.

        True for a few seconds after the pod was first asked for, and only while the
        watch is starting or up; so a line may be held for it, and is never held long.
        """
        container = attribution.container
        if self._index is None or not self._index.expecting or not is_in_pod(container):
            return False
        workload = attribution.workload
        if _is_complete(container, workload):
            return False
        return self._within_wait(container)

    def _is_a_pods(self, container: Container) -> bool:
        """Return whether a container's id is one of this node's pods'."""
        alone = Container(container.id)
        return (self._index is not None and self._index.lookup(alone) is not None) or (
            self._node_logs is not None and self._node_logs.lookup(alone) is not None
        )

    def _own(self, identity: Identity, view: ZombieView | None) -> cgroup.ProcCgroups | None:
        """Return the cgroups of that process; None when it is gone, its pid reused or not."""
        if view is not None:
            return None if view.cgroup is None else self._search.parse_proc(view.cgroup)
        read = self._read_cgroup(identity.pid)
        if read is None or read.start_ticks != identity.start_ticks:
            return None
        return self._search.parse_proc(read.text)

    def _parents(self, parent_pid: int, child: Identity) -> cgroup.ProcCgroups | None:
        """Return the cgroups of a zombie's parent.

        It is older than its child, also when it adopted it: a younger process took the pid
        of a parent that died.
        """
        read = self._read_cgroup(parent_pid)
        if read is None or read.start_ticks > child.start_ticks:
            return None
        return self._search.parse_proc(read.text)

    def _from_parent(self, own: Cgroup | None, parent_pid: int, child: Identity) -> Cgroup | None:
        """Choose between a child's own cgroup that names no container and its parent's.

        Where a runtime uses only the version 1 controllers, the `0::` line of all its
        containers is that of the runtime's service, and nothing else is left of a
        zombie: then the parent's container counts. Where the parent's container is in
        its `0::` line, a child of that container would have shown it too.
        """
        read = self._parents(parent_pid, child)
        if read is None:
            return own
        parents = Cgroup(read.path, CgroupOrigin.PARENT)
        if own is None or cgroup.is_root(own.path):
            return parents if own is None or not cgroup.is_root(read.path) else own
        hidden = self._search.find(parents).container is not None and not read.unified
        return parents if hidden else own

    def _workload(self, container: Container) -> Workload | None:
        """Ask the API's index, then the node's logs for what the index does not know."""
        known = None if self._index is None else self._index.lookup(container)
        if self._node_logs is None or _is_complete(container, known):
            return known
        logged = self._node_logs.lookup(container)
        if known is None or logged is None:
            return logged if known is None else known
        return replace(known, container=logged.container)

    def _within_wait(self, container: Container | None) -> bool:
        if container is None:
            return False
        now = self._now_boot_ns()
        if len(self._first_asked) >= _AWAITED_LIMIT and container not in self._first_asked:
            del self._first_asked[next(iter(self._first_asked))]
        return now - self._first_asked.setdefault(container, now) < _AWAIT_NS


def shared(attributions: Iterable[Attribution]) -> Attribution:
    """Return what holds for all of them: their container, else their pod, else nothing.

    Zombies of one parent may be in several pods, where pods share a PID namespace.
    """
    found = list(attributions)
    return reduce(_common, found) if found else Attribution()


def _common(one: Attribution, other: Attribution) -> Attribution:
    if (one.container, one.workload, one.unit) == (other.container, other.workload, other.unit):
        return one
    if one.container is None or other.container is None:
        return Attribution()
    pod = replace(one.container, id=None, runtime=None)
    if not is_in_pod(pod) or pod != replace(other.container, id=None, runtime=None):
        return Attribution()
    workload = one.workload or other.workload
    if workload is not None:
        workload = replace(workload, container=None, image=None, restart_count=None, probes=())
    return Attribution(container=pod, workload=workload)


def _is_complete(container: Container | None, workload: Workload | None) -> bool:
    """Return whether it is all that can be known: from the API, with the container's name."""
    if workload is None or workload.source is not WorkloadSource.API:
        return False
    return workload.container is not None or container is None or container.id is None
