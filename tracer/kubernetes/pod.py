"""The parts of a pod that attribution and diagnosis use, from the API's JSON. Pure.

Built from the raw JSON and not from the client's models: of a pod's ten kilobytes a
few hundred bytes are kept, and 1,100 model classes need not be loaded for it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

from tracer.model import Owner, Probe

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodContainer:
    """One container of a pod: init, ephemeral or ordinary.

    Attributes:
        name: in the pod.
        ids: container ids of its current and its last run, 64 hexadecimal digits each.
        runtime: as the status's `containerd://…` names it; None before the first run.
        image: as the status names it, else as the spec does.
        restart_count: None before there is a status.
        command_replaced: the spec gives a `command`, which replaces the image's entrypoint.
        probes: exec probes and lifecycle hooks that run a command in it.
    """

    name: str
    ids: tuple[str, ...] = ()
    runtime: str | None = None
    image: str | None = None
    restart_count: int | None = None
    command_replaced: bool = False
    probes: tuple[Probe, ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod.

    Attributes:
        uid, namespace, name: of the pod.
        node: where it runs.
        config_hash: for the mirror pod of a static pod.
        owner: the workload that a person knows (owner_of).
        controller: what the ownerReferences name.
        labels: sorted by name.
        share_process_namespace, host_pid: as its spec says.
        containers: of all kinds.
    """

    uid: str
    namespace: str
    name: str
    node: str | None = None
    config_hash: str | None = None
    owner: Owner | None = None
    controller: Owner | None = None
    labels: tuple[tuple[str, str], ...] = ()
    share_process_namespace: bool = False
    host_pid: bool = False
    containers: tuple[PodContainer, ...] = ()


_KINDS = (
    ("initContainers", "initContainerStatuses"),
    ("containers", "containerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
)
_PROBES = (
    ("livenessProbe", "liveness"),
    ("readinessProbe", "readiness"),
    ("startupProbe", "startup"),
)
_HOOKS = ("postStart", "preStop")


def parse_pod(raw: object) -> Pod:
    """Read a v1 Pod (kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1).

    Raises:
        ValueError: it has no uid or no name; the text quotes its beginning.
    """
    pod = _map(raw)
    metadata, spec, status = _map(pod.get("metadata")), _map(pod.get("spec")), pod.get("status")
    uid, name, namespace = (_text(metadata.get(key)) for key in ("uid", "name", "namespace"))
    if uid is None or name is None:
        raise ValueError(f"not a pod: {str(raw)[:200]!r}")
    annotations = _map(metadata.get("annotations"))
    labels = {
        intern(key): intern(value)
        for key, value in _map(metadata.get("labels")).items()
        if isinstance(value, str)
    }
    controller = _controller(metadata)
    return Pod(
        uid=uid,
        namespace=intern(namespace or "default"),
        name=name,
        node=_text(spec.get("nodeName")),
        config_hash=_text(annotations.get("kubernetes.io/config.mirror"))
        or _text(annotations.get("kubernetes.io/config.hash")),
        owner=owner_of(controller, labels),
        controller=controller,
        labels=tuple(sorted(labels.items())),
        share_process_namespace=spec.get("shareProcessNamespace") is True,
        host_pid=spec.get("hostPID") is True,
        containers=tuple(_containers(spec, _map(status))),
    )


def owner_of(controller: Owner | None, labels: Mapping[str, str]) -> Owner | None:
    """Return the workload that a person knows, without another request to the API.

    A Deployment names its ReplicaSet `<name>-<pod-template-hash>` and puts the hash on
    the pods; an Argo Rollout does the same under a label of its own. A CronJob names
    its Job `<name>-<scheduled time>`, minutes since 1970 (since Kubernetes 1.21) or
    seconds (before): other numbers at the end of a Job's name are the user's.
    """
    if controller is None:
        return None
    kind, name = controller
    if kind == "ReplicaSet":
        for label, above in (
            ("pod-template-hash", "Deployment"),
            ("rollouts-pod-template-hash", "Rollout"),
        ):
            suffix = "-" + labels.get(label, "")
            if len(suffix) > 1 and len(name) > len(suffix) and name.endswith(suffix):
                return Owner(above, intern(name.removesuffix(suffix)))
    if kind == "Job":
        match = re.fullmatch(r"(.+)-(\d{8}|\d{10})", name)
        if match is not None and _is_schedule(match[2]):
            return Owner("CronJob", intern(match[1]))
    return controller


def _is_schedule(digits: str) -> bool:
    """Return whether digits can be a time after 2015; an 8-digit date (20261122) cannot."""
    minutes = int(digits) if len(digits) == 8 else int(digits) // 60
    return minutes > 23_600_000


def _controller(metadata: Json) -> Owner | None:
    references = [_map(entry) for entry in _list(metadata.get("ownerReferences"))]
    for reference in sorted(references, key=lambda entry: entry.get("controller") is not True):
        kind, name = _text(reference.get("kind")), _text(reference.get("name"))
        if kind is not None and name is not None:
            return Owner(intern(kind), intern(name))
    return None


def _containers(spec: Json, status: Json) -> Iterator[PodContainer]:
    for spec_key, status_key in _KINDS:
        statuses = {
            _text(entry.get("name")): entry for entry in map(_map, _list(status.get(status_key)))
        }
        for container in map(_map, _list(spec.get(spec_key))):
            name = _text(container.get("name"))
            if name is not None:
                yield _container(name, container, statuses.get(name, {}))


def _container(name: str, spec: Json, status: Json) -> PodContainer:
    runs = [_text(status.get("containerID"))]
    for key in ("state", "lastState"):
        terminated = _map(_map(status.get(key)).get("terminated"))
        runs.append(_text(terminated.get("containerID")))
    named = [run.partition("://") for run in runs if run]
    image = _text(status.get("image"))
    if image is None or image.startswith("sha256:"):  # a runtime that forgot the tag
        image = _text(spec.get("image")) or image
    return PodContainer(
        name=intern(name),
        ids=tuple(dict.fromkeys(container_id for _, _, container_id in named if container_id)),
        runtime=intern(named[0][0]) if named else None,
        image=None if image is None else intern(image),
        restart_count=_int(status.get("restartCount")),
        command_replaced=bool(_list(spec.get("command"))),
        probes=tuple(_probes(spec)),
    )


def _probes(spec: Json) -> Iterator[Probe]:
    for key, kind in _PROBES:
        probe = _map(spec.get(key))
        command = _command(probe)
        if command:
            period, timeout = _int(probe.get("periodSeconds")), _int(probe.get("timeoutSeconds"))
            yield Probe(kind, command, period, timeout)
    hooks = _map(spec.get("lifecycle"))
    for kind in _HOOKS:
        command = _command(_map(hooks.get(kind)))
        if command:
            yield Probe(kind, command, None, None)


def _command(handler: Json) -> tuple[str, ...]:
    words = _list(_map(handler.get("exec")).get("command"))
    return tuple(intern(word) for word in words if isinstance(word, str))


def _map(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
