"""Whose a process is: container, pod, owner."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from tracer.model.process import Cgroup


@dataclass(frozen=True, slots=True)
class Container:
    """The container that a cgroup path names.

    Attributes:
        id: 64 hexadecimal digits; None where the path names only a pod.
        runtime: containerd, cri-o, docker, podman; None when the path does not say.
        pod_uid: from the path, with dashes; None outside Kubernetes.
        config_hash: in place of the UID for a static pod (32 hexadecimal digits).
    """

    id: str | None
    runtime: str | None = None
    pod_uid: str | None = None
    config_hash: str | None = None


class WorkloadSource(StrEnum):
    """Where names of pods came from."""

    API = "api"
    NODE_LOGS = "node_logs"


class Owner(NamedTuple):
    """The controller of a pod, as far as its ownerReferences name it."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe or lifecycle hook of a container that runs a command in it."""

    kind: str
    command: tuple[str, ...]
    period_seconds: int | None
    timeout_seconds: int | None


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod and, where known, one container of it.

    Attributes:
        namespace, pod, pod_uid: names of the pod.
        container: the container's name in the pod.
        image: its image, as the pod's status or spec names it.
        restart_count: of the container.
        owner: Deployment, StatefulSet, Job or another kind; None for a bare pod.
        controller: what its ownerReferences name: as owner, or the ReplicaSet or Job between.
        labels: of the pod, for -l; never a metric.
        share_process_namespace: the pod's spec says so.
        host_pid: the pod's spec says so.
        command_replaced: the pod's spec replaces the image's entrypoint.
        probes: the exec probes and hooks of the container.
        source: where this came from.
    """

    namespace: str
    pod: str
    pod_uid: str | None
    container: str | None = None
    image: str | None = None
    restart_count: int | None = None
    owner: Owner | None = None
    controller: Owner | None = None
    labels: tuple[tuple[str, str], ...] = ()
    share_process_namespace: bool = False
    host_pid: bool = False
    command_replaced: bool = False
    probes: tuple[Probe, ...] = ()
    source: WorkloadSource = WorkloadSource.API


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose zombie it is.

    Attributes:
        cgroup: the path that decided, and where it was read.
        container: what the path names.
        workload: the pod; None outside pods, and while it is unknown.
        unit: the systemd unit of a host service.
    """

    cgroup: Cgroup | None = None
    container: Container | None = None
    workload: Workload | None = None
    unit: str | None = None
