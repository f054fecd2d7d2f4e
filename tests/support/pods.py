"""Pods as the API sends them: the JSON of v1 Pod, of realistic size."""

import hashlib
import uuid


def container_id(*parts: object) -> str:
    """A made-up container id that is always the same for the same parts."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def pod(
    name,
    *,
    namespace="example",
    node="worker-1",
    containers=("app",),
    init=(),
    ephemeral=(),
    running=True,
    owner=None,
    labels=None,
    annotations=None,
    uid=None,
    run=0,
    **spec,
):
    """Make a pod; `run` numbers the container's runs and changes its ids."""
    uid = uid or str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{namespace}/{name}"))
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "creationTimestamp": "2026-11-22T10:00:00Z",
        "labels": {"app": name, **(labels or {})},
        "annotations": annotations or {},
        "managedFields": [_managed_fields(writer) for writer in ("kube-controller", "kubelet")],
    }
    if owner is not None:
        kind, owner_name = owner
        metadata["ownerReferences"] = [
            {
                "apiVersion": "apps/v1",
                "kind": kind,
                "name": owner_name,
                "uid": uid,
                "controller": True,
            }
        ]
    made = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {
            "nodeName": node,
            "initContainers": [_container(one) for one in init],
            "containers": [_container(one) for one in containers],
            "ephemeralContainers": [_container(one) for one in ephemeral],
            **spec,
        },
        "status": {"phase": "Running" if running else "Pending"},
    }
    if running:
        made["status"] |= {
            "initContainerStatuses": [_status(uid, one, run, over=True) for one in init],
            "containerStatuses": [_status(uid, one, run) for one in containers],
            "ephemeralContainerStatuses": [_status(uid, one, run) for one in ephemeral],
        }
    return made


def _container(name):
    return {
        "name": name,
        "image": f"registry.example/{name}:1",
        "command": ["/bin/app", "--serve"],
        "env": [{"name": f"SETTING_{number}", "value": "x" * 20} for number in range(12)],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "volumeMounts": [{"name": f"v{number}", "mountPath": f"/v{number}"} for number in range(4)],
        "livenessProbe": {
            "exec": {"command": ["/bin/sh", "-c", "probe"]},
            "periodSeconds": 10,
            "timeoutSeconds": 1,
        },
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}},
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", "5"]}}},
    }


def _status(uid, name, run, *, over=False):
    status = {
        "name": name,
        "image": f"registry.example/{name}:1",
        "imageID": f"registry.example/{name}@sha256:" + "a" * 64,
        "ready": not over,
        "started": not over,
        "restartCount": run,
        "containerID": "containerd://" + container_id(uid, name, run),
        "state": {"running": {"startedAt": "2026-11-22T10:00:01Z"}},
        "lastState": {},
    }
    if over:
        status["state"] = {
            "terminated": {
                "exitCode": 0,
                "containerID": status["containerID"],
                "reason": "Completed",
            }
        }
    if run:
        status["lastState"] = {
            "terminated": {
                "exitCode": 1,
                "containerID": "containerd://" + container_id(uid, name, run - 1),
            }
        }
    return status


def _managed_fields(manager):
    return {
        "manager": manager,
        "operation": "Update",
        "fieldsV1": {
            f"f:field{number}": {f"f:inner{i}": {} for i in range(6)} for number in range(24)
        },
    }
