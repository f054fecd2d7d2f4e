"""The one table of fields: what is known, and under which name it is told.

JSON lines, `scan -o json` and the columns for people all read this table, so that
they cannot tell different things. A path, joined with dots, is the OpenTelemetry
attribute name. The order is that of the contract.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tracer.clock import NS, rfc3339
from tracer.model import (
    Attribution,
    Cause,
    Child,
    Container,
    Process,
    Record,
    Storm,
    Waits,
    Workload,
    Zombie,
)
from tracer.model.event import StormContext
from tracer.render.words import core_dumped, exit_code, exit_signal, state_name

KERNEL_BYTES = 10_547
"""Unreclaimable kernel memory that one zombie holds, measured as slab growth over 300,000."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What one line tells of, with what is needed to tell it.

    Attributes:
        node_name: the node.
        to_wall_ns: what makes a boot time a Unix time.
        at_boot_ns: the moment of the event.
        parent_pid: of the zombie, or of the storm.
        zombie: None in the line of a storm.
        storm: None in the line of a zombie.
    """

    node_name: str
    to_wall_ns: int
    at_boot_ns: int
    parent_pid: int
    attribution: Attribution
    parent: Process | None = None
    cause: Cause | None = None
    zombie: Zombie | None = None
    age_ns: int | None = None
    lifetime_ns: int | None = None
    waits: Waits | None = None
    command_line: str | None = None
    storm: Storm | None = None

    def wall(self, boot_ns: int | None) -> str | None:
        """Write a boot time as RFC 3339."""
        return None if boot_ns is None else rfc3339(boot_ns + self.to_wall_ns)


def scene_of_record(
    record: Record, *, node_name: str, to_wall_ns: int, at_boot_ns: int | None = None
) -> Scene:
    """Set the scene for one zombie; the moment, when not given, follows from its age."""
    if at_boot_ns is None:
        died = record.zombie.child.dead_since_boot_ns
        at_boot_ns = record.age_ns + (record.zombie.first_seen_boot_ns if died is None else died)
    return Scene(
        node_name=node_name,
        to_wall_ns=to_wall_ns,
        at_boot_ns=at_boot_ns,
        parent_pid=record.zombie.child.parent_pid,
        attribution=record.attribution,
        parent=record.parent,
        cause=record.cause,
        zombie=record.zombie,
        age_ns=record.age_ns,
        lifetime_ns=record.lifetime_ns,
        waits=record.waits,
        command_line=record.command_line,
    )


def scene_of_storm(
    context: StormContext, *, node_name: str, to_wall_ns: int, at_boot_ns: int
) -> Scene:
    """Set the scene for one parent's counter."""
    return Scene(
        node_name=node_name,
        to_wall_ns=to_wall_ns,
        at_boot_ns=at_boot_ns,
        parent_pid=context.storm.parent_pid,
        attribution=context.attribution,
        parent=context.parent,
        cause=context.cause,
        storm=context.storm,
    )


Getter = Callable[[Scene], object]


def seconds(duration_ns: int | None) -> float | None:
    """Convert to seconds with microseconds."""
    return None if duration_ns is None else round(duration_ns / NS, 6)


def _child(get: Callable[[Child], object]) -> Getter:
    return lambda scene: None if scene.zombie is None else get(scene.zombie.child)


def _parent(get: Callable[[Process], object]) -> Getter:
    return lambda scene: None if scene.parent is None else get(scene.parent)


def _waits(get: Callable[[Waits], object]) -> Getter:
    return lambda scene: None if scene.waits is None else get(scene.waits)


def _cause(get: Callable[[Cause], object]) -> Getter:
    return lambda scene: None if scene.cause is None else get(scene.cause)


def _storm(get: Callable[[Storm], object]) -> Getter:
    return lambda scene: None if scene.storm is None else get(scene.storm)


def _workload(get: Callable[[Workload], object]) -> Getter:
    return lambda scene: (
        None if scene.attribution.workload is None else get(scene.attribution.workload)
    )


def _container(get: Callable[[Container], object]) -> Getter:
    return lambda scene: (
        None if scene.attribution.container is None else get(scene.attribution.container)
    )


def _owner(kind: str) -> Getter:
    return _workload(
        lambda w: w.owner.name if w.owner is not None and w.owner.kind == kind else None
    )


def _pod_uid(scene: Scene) -> str | None:
    workload, container = scene.attribution.workload, scene.attribution.container
    if workload is not None and workload.pod_uid is not None:
        return workload.pod_uid
    return None if container is None else container.pod_uid


def _exit_time(scene: Scene) -> str | None:
    return None if scene.zombie is None else scene.wall(scene.zombie.child.exit_boot_ns)


def _creation_time(scene: Scene) -> str | None:
    return None if scene.zombie is None else scene.wall(scene.zombie.child.start_boot_ns)


def _last_wait(scene: Scene) -> float | None:
    if scene.waits is None or scene.waits.last_boot_ns is None:
        return None
    return seconds(max(0, scene.at_boot_ns - scene.waits.last_boot_ns))


def _known_pid(pid: int) -> int | None:
    """Pid 0 is the kernel's way to say: not in your pid namespace."""
    return pid or None


def _forker_is_parent(scene: Scene) -> bool | None:
    if scene.zombie is None or scene.zombie.child.forker is None:
        return None
    forker = scene.zombie.child.forker.identity
    if scene.parent is not None:
        return forker == scene.parent.identity
    return forker.pid == scene.parent_pid


def _cgroup(scene: Scene) -> str | None:
    """Return its own cgroup, else the one that decided whose it is."""
    if scene.zombie is not None and scene.zombie.child.cgroup is not None:
        return scene.zombie.child.cgroup.path
    return None if scene.attribution.cgroup is None else scene.attribution.cgroup.path


FIELDS: Mapping[str, Getter] = {
    "process.pid": _child(lambda c: c.identity.pid),
    "process.vpid": _child(lambda c: c.vpid),
    "process.parent_pid": lambda scene: _known_pid(scene.parent_pid),
    "process.executable.name": _child(lambda c: c.comm or None),
    "process.user.id": _child(lambda c: c.uid),
    "process.creation.time": _creation_time,
    "process.exit.time": _exit_time,
    "process.exit.time_known": _child(lambda c: c.exit_boot_ns is not None),
    "process.exit.code": _child(lambda c: exit_code(c.exit_status)),
    "process.exit.signal": _child(lambda c: exit_signal(c.exit_status)),
    "process.exit.core_dumped": _child(lambda c: core_dumped(c.exit_status)),
    "process.state": _child(lambda _: "defunct"),
    "process.linux.cgroup": _cgroup,
    "zombie.age_seconds": lambda scene: seconds(scene.age_ns),
    "zombie.lifetime_seconds": lambda scene: seconds(scene.lifetime_ns),
    "zombie.kernel_bytes": lambda _: KERNEL_BYTES,
    "zombie.siblings": lambda scene: None if scene.zombie is None else scene.zombie.siblings,
    "storm.phase": _storm(lambda s: s.phase.value),
    "storm.zombies": _storm(lambda s: s.zombies),
    "storm.detected": _storm(lambda s: s.detected),
    "storm.reaped": _storm(lambda s: s.reaped),
    "storm.rate_per_second": _storm(lambda s: round(s.rate_per_second, 3)),
    "storm.oldest_age_seconds": _storm(lambda s: seconds(s.oldest_age_ns)),
    "storm.kernel_bytes": _storm(lambda s: s.zombies * KERNEL_BYTES),
    "storm.began.time": lambda scene: (
        None if scene.storm is None else scene.wall(scene.storm.began_boot_ns)
    ),
    "parent.pid": lambda scene: _known_pid(scene.parent_pid),
    "parent.vpid": _parent(lambda p: p.vpid),
    "parent.executable.name": _parent(lambda p: p.comm or None),
    "parent.executable.path": _parent(lambda p: p.path),
    "parent.command_line": lambda scene: scene.command_line,
    "parent.state": _parent(lambda p: state_name(p.state)),
    "parent.is_init": _parent(lambda p: p.is_init),
    "parent.waits.any": _waits(lambda w: w.any),
    "parent.waits.specific": _waits(lambda w: w.specific),
    "parent.waits.last_seconds_ago": _last_wait,
    "forker.pid": _child(lambda c: None if c.forker is None else c.forker.identity.pid),
    "forker.executable.name": _child(lambda c: None if c.forker is None else c.forker.comm or None),
    "forker.is_parent": _forker_is_parent,
    "k8s.node.name": lambda scene: scene.node_name,
    "k8s.namespace.name": _workload(lambda w: w.namespace),
    "k8s.pod.name": _workload(lambda w: w.pod),
    "k8s.pod.uid": _pod_uid,
    "k8s.container.name": _workload(lambda w: w.container),
    "k8s.container.restart_count": _workload(lambda w: w.restart_count),
    "k8s.deployment.name": _owner("Deployment"),
    "k8s.statefulset.name": _owner("StatefulSet"),
    "k8s.daemonset.name": _owner("DaemonSet"),
    "k8s.replicaset.name": _owner("ReplicaSet"),
    "k8s.job.name": _owner("Job"),
    "k8s.cronjob.name": _owner("CronJob"),
    "container.id": _container(lambda c: c.id),
    "container.runtime": _container(lambda c: c.runtime),
    "container.image.name": _workload(lambda w: w.image),
    "systemd.unit": lambda scene: scene.attribution.unit,
    "cause.code": _cause(lambda c: c.code.value),
    "cause.confidence": _cause(lambda c: c.confidence.value),
    "cause.evidence": _cause(lambda c: list(c.evidence)),
    "cause.advice": _cause(lambda c: c.advice),
}
"""Path to what it says of a scene; None is unknown or does not apply."""


def in_pod(attribution: Attribution) -> bool:
    """Tell whether a pod is known to own it, be it without its name."""
    container = attribution.container
    return attribution.workload is not None or (
        container is not None
        and (container.pod_uid is not None or container.config_hash is not None)
    )


def paths(*groups: str) -> Iterable[str]:
    """Return the paths that begin with one of these groups, in the table's order."""
    return (path for path in FIELDS if path.partition(".")[0] in groups)
