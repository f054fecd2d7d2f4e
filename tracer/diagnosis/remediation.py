"""Commands to paste, filled in for one pod: shown, never run. Pure."""

import json
from shlex import quote

from tracer.model import Attribution, Evidence, Owner, Process, Workload

_PATCHABLE = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""Kinds whose pod template can be changed and rolled out."""


def workload_of(evidence: Evidence) -> Workload | None:
    """Return the pod, where there is one."""
    return evidence.attribution.workload if evidence.attribution else None


def _kubectl(workload: Workload) -> str:
    return f"kubectl -n {quote(workload.namespace)}"


def _controller(workload: Workload) -> Owner | None:
    owner = workload.owner
    return owner if owner is not None and owner.kind in _PATCHABLE else None


def restart(workload: Workload) -> str:
    """Replace the pod: clears its zombies, and cures nothing."""
    owner = _controller(workload)
    if owner is not None:
        return f"{_kubectl(workload)} rollout restart {owner.kind.lower()}/{quote(owner.name)}"
    return f"{_kubectl(workload)} delete pod {quote(workload.pod)}"


def inside(workload: Workload, command: str) -> str:
    """Run a command in the container."""
    container = f" -c {quote(workload.container)}" if workload.container else ""
    return f"{_kubectl(workload)} exec {quote(workload.pod)}{container} -- {command}"


def share_process_namespace(workload: Workload) -> str:
    """Turn shareProcessNamespace on; for a bare pod, say how."""
    owner = _controller(workload)
    if owner is None:
        return (
            f"{_kubectl(workload)} get pod {quote(workload.pod)} -o yaml > pod.yaml, "
            "add `shareProcessNamespace: true` under spec, "
            "then kubectl replace --force -f pod.yaml"
        )
    change = {"spec": {"template": {"spec": {"shareProcessNamespace": True}}}}
    return (
        f"{_kubectl(workload)} patch {owner.kind.lower()} {quote(owner.name)} "
        f"-p {quote(json.dumps(change, separators=(',', ':')))}"
    )


def _container_path(workload: Workload, part: str) -> str:
    if workload.container is None:
        return f"{{.spec.containers[*].{part}}}"
    return f'{{.spec.containers[?(@.name=="{workload.container}")].{part}}}'


def show_command(workload: Workload) -> str:
    """Show the command that replaces the image's entrypoint."""
    path = quote("jsonpath=" + _container_path(workload, "command"))
    return f"{_kubectl(workload)} get pod {quote(workload.pod)} -o {path}"


def show_probes(workload: Workload) -> str:
    """Show the probes and hooks of the container."""
    parts = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
    text = "".join(_container_path(workload, part) for part in parts)
    return f"{_kubectl(workload)} get pod {quote(workload.pod)} -o {quote('jsonpath=' + text)}"


def signal(process: Process, name: str, attribution: Attribution | None) -> str:
    """Send a signal to a process: through its pod, else on the node."""
    workload = attribution.workload if attribution else None
    in_pod = workload is not None and not workload.host_pid and process.vpid is not None
    if workload is not None and in_pod and process.vpid != process.identity.pid:
        return inside(workload, f"kill -{name} {process.vpid}")
    return f"kill -{name} {process.identity.pid}"


def thaw(process: Process) -> str:
    """Thaw the cgroup of a process."""
    path = process.cgroup_path
    if path is None or ".." in path:
        return f"find its cgroup in /proc/{process.identity.pid}/cgroup and thaw that"
    return (
        f"echo 0 > {quote('/sys/fs/cgroup' + path + '/cgroup.freeze')} on the node "
        f"(cgroup v1: echo THAWED > {quote('/sys/fs/cgroup/freezer' + path + '/freezer.state')})"
    )
