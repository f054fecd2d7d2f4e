"""Whose a line is: the pod, or what stands for it outside pods."""

from typing import NamedTuple

from tracer.model import Attribution, Identity
from tracer.model.event import Event, EventName
from tracer.sinks.fair_queue import Place


class LineOwner(NamedTuple):
    """Who has a budget and takes turns.

    Attributes:
        kind: pod, container, unit, cgroup or parent.
        key: the pod's UID, the container's ID, or the name or parent that stands for it.
    """

    kind: str
    key: str | Identity

    @property
    def in_pod(self) -> bool:
        """Whether it is a pod: there are at most as many as the kubelet runs."""
        return self.kind == "pod"


class Names(NamedTuple):
    """The names of an owner, as far as they are known; None outside pods."""

    namespace: str | None
    pod: str | None


def owner_of(event: Event) -> LineOwner | Place:
    """Return whose line an event makes; the agent's own are Place.FIRST, its end Place.LAST."""
    if event.record is not None:
        parent, child = event.record.parent, event.record.zombie.child
        identity = Identity(child.parent_pid, 0) if parent is None else parent.identity
        return _owner(event.record.attribution, identity)
    if event.storm is not None:
        return _owner(event.storm.attribution, event.storm.storm.parent)
    return Place.LAST if event.name is EventName.AGENT_STOPPED else Place.FIRST


def names_of(event: Event) -> Names:
    """Return the names of whose line it is."""
    attribution = _attribution(event)
    workload = None if attribution is None else attribution.workload
    return Names(None, None) if workload is None else Names(workload.namespace, workload.pod)


def _attribution(event: Event) -> Attribution | None:
    if event.record is not None:
        return event.record.attribution
    return None if event.storm is None else event.storm.attribution


def _owner(attribution: Attribution, parent: Identity) -> LineOwner:
    container, workload = attribution.container, attribution.workload
    # First what the cgroup says: it is known from the first line on, names may come later.
    if container is not None and (pod := container.pod_uid or container.config_hash):
        return LineOwner("pod", pod)
    if workload is not None:
        return LineOwner("pod", workload.pod_uid or f"{workload.namespace}/{workload.pod}")
    if container is not None and container.id is not None:
        return LineOwner("container", container.id)
    if attribution.unit is not None:
        return LineOwner("unit", attribution.unit)
    path = "" if attribution.cgroup is None else attribution.cgroup.path
    first = next((part for part in path.split("/") if part not in {"", ".."}), None)
    return LineOwner("parent", parent) if first is None else LineOwner("cgroup", first)
