"""The one table of fields: what is known, and under which name it is reported.

JSON lines, `scan -o json` and the columns for people all read this table, so that
they cannot disagree. A path, joined with dots, is the OpenTelemetry attribute name.
The order is that of the contract.
"""

from collections.abc import Callable, Iterable, Mapping

from tracer.clock import NS, TICK_NS
from tracer.model import Attribution, Cause, Child, Container, Process, Storm, Waits, Workload
from tracer.render.context import FieldContext, cgroup_path
from tracer.render.words import core_dumped, exit_code, exit_signal, state_name

KERNEL_BYTES = 10_547
"""Unreclaimable kernel memory that one zombie holds, measured as slab growth over 300,000."""

Getter = Callable[[FieldContext], object]


def seconds(duration_ns: int | None) -> float | None:
    """Convert to seconds with microseconds."""
    return None if duration_ns is None else round(duration_ns / NS, 6)


def _child(get: Callable[[Child], object]) -> Getter:
    return lambda context: None if context.zombie is None else get(context.zombie.child)


def _parent(get: Callable[[Process], object]) -> Getter:
    return lambda context: None if context.parent is None else get(context.parent)


def _waits(get: Callable[[Waits], object]) -> Getter:
    return lambda context: None if context.waits is None else get(context.waits)


def _cause(get: Callable[[Cause], object]) -> Getter:
    return lambda context: None if context.cause is None else get(context.cause)


def _unexplained(get: Callable[[Cause], object]) -> Getter:
    """Read what an earlier line of the same cause may have said already."""
    read = _cause(get)
    return lambda context: None if context.explained else read(context)


def _storm(get: Callable[[Storm], object]) -> Getter:
    return lambda context: None if context.storm is None else get(context.storm)


def _workload(get: Callable[[Workload], object]) -> Getter:
    return lambda context: (
        None if context.attribution.workload is None else get(context.attribution.workload)
    )


def _container(get: Callable[[Container], object]) -> Getter:
    return lambda context: (
        None if context.attribution.container is None else get(context.attribution.container)
    )


def _owner(kind: str) -> Getter:
    def name(workload: Workload) -> str | None:
        owners = (workload.owner, workload.controller)
        return next((one.name for one in owners if one is not None and one.kind == kind), None)

    return _workload(name)


def _pod_uid(context: FieldContext) -> str | None:
    workload, container = context.attribution.workload, context.attribution.container
    if workload is not None and workload.pod_uid is not None:
        return workload.pod_uid
    return None if container is None else container.pod_uid


def _exit_time(context: FieldContext) -> str | None:
    return None if context.zombie is None else context.wall(context.zombie.child.exit_boot_ns)


def _creation_time(context: FieldContext) -> str | None:
    """Return its start in whole ticks, as /proc has it: the same with every source."""
    if context.zombie is None:
        return None
    return context.wall(context.zombie.child.identity.start_ticks * TICK_NS)


def _last_wait(context: FieldContext) -> float | None:
    if context.waits is None or context.waits.last_boot_ns is None:
        return None
    return seconds(max(0, context.at_boot_ns - context.waits.last_boot_ns))


def _known_pid(pid: int) -> int | None:
    """Return None for pid 0, which the kernel shows for a process of another pid namespace."""
    return pid or None


def _forker_is_parent(context: FieldContext) -> bool | None:
    if context.zombie is None or context.zombie.child.forker is None:
        return None
    forker = context.zombie.child.forker.identity
    if context.parent is not None:
        return forker == context.parent.identity
    return forker.pid == context.parent_pid


_parent_state = _parent(lambda p: state_name(p.state))


def _cgroup(context: FieldContext) -> str | None:
    return cgroup_path(context.zombie, context.attribution)


FIELDS: Mapping[str, Getter] = {
    "process.pid": _child(lambda c: c.identity.pid),
    "process.vpid": _child(lambda c: c.vpid),
    "process.parent_pid": lambda context: _known_pid(context.parent_pid),
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
    "zombie.age_seconds": lambda context: seconds(context.age_ns),
    "zombie.lifetime_seconds": lambda context: seconds(context.lifetime_ns),
    "zombie.kernel_bytes": lambda _: KERNEL_BYTES,
    "zombie.siblings": lambda context: None if context.zombie is None else context.zombie.siblings,
    "storm.phase": _storm(lambda s: s.phase.value),
    "storm.zombies": _storm(lambda s: s.zombies),
    "storm.detected": _storm(lambda s: s.detected),
    "storm.reaped": _storm(lambda s: s.reaped),
    "storm.adopted": _storm(lambda s: s.adopted),
    "storm.rate_per_second": _storm(lambda s: round(s.rate_per_second, 3)),
    "storm.oldest_age_seconds": _storm(lambda s: seconds(s.oldest_age_ns)),
    "storm.kernel_bytes": _storm(lambda s: s.zombies * KERNEL_BYTES),
    "storm.began.time": lambda context: (
        None if context.storm is None else context.wall(context.storm.began_boot_ns)
    ),
    "parent.pid": lambda context: _known_pid(context.parent_pid),
    "parent.vpid": _parent(lambda p: p.vpid),
    "parent.executable.name": _parent(lambda p: p.comm or None),
    "parent.executable.path": _parent(lambda p: p.path),
    "parent.command_line": lambda context: context.command_line,
    "parent.state": lambda context: None if context.parent_gone else _parent_state(context),
    "parent.is_init": _parent(lambda p: p.is_init),
    "parent.waits.any": _waits(lambda w: w.any),
    "parent.waits.specific": _waits(lambda w: w.specific),
    "parent.waits.last_seconds_ago": _last_wait,
    "forker.pid": _child(lambda c: None if c.forker is None else c.forker.identity.pid),
    "forker.executable.name": _child(lambda c: None if c.forker is None else c.forker.comm or None),
    "forker.is_parent": _forker_is_parent,
    "k8s.node.name": lambda context: context.node_name,
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
    "systemd.unit": lambda context: context.attribution.unit,
    "cause.id": lambda context: context.cause_id,
    "cause.code": _cause(lambda c: c.code.value),
    "cause.confidence": _cause(lambda c: c.confidence.value),
    "cause.evidence": _unexplained(lambda c: list(c.evidence)),
    "cause.advice": _unexplained(lambda c: c.advice),
}
"""Path to the function that reads its value; None is unknown or does not apply."""


def in_pod(attribution: Attribution) -> bool:
    """Return whether it belongs to a pod, even if the pod's name is unknown."""
    container = attribution.container
    return attribution.workload is not None or (
        container is not None
        and (container.pod_uid is not None or container.config_hash is not None)
    )


def paths(*groups: str) -> Iterable[str]:
    """Return the paths that begin with one of these groups, in the table's order."""
    return (path for path in FIELDS if path.partition(".")[0] in groups)
