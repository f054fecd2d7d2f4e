"""Real cgroup paths and what must be read from them: the table of docs/attribution.md.

Each row: form, runtime, cgroup version, path, and the expected container; for a node that
is a container, the cgroup of an agent in a pod there, by which it knows where pods are. `{id}`,
`{uid}`, `{uid_}` and `{hash}` stand for the identities below, to keep the table narrow.
"""

from typing import NamedTuple

from tracer.attribution.cgroup import segments
from tracer.attribution.pod_roots import STANDARD, PodRoots, roots_of_own

ID = "0123456789abcdef" * 4
UID = "b5b4bd95-5f3c-4d0a-9a3e-2f1d6c7b8a90"
UID_ = UID.replace("-", "_")
OWN_UID = "0a0a0a0a-1b1b-4c2c-8d3d-4e4e4e4e4e4e"
_OWN_UID = OWN_UID.replace("-", "_")
_OWN_POD = f"pod{OWN_UID}/" + "c" * 64
_OWN_SLICE = f"pod{_OWN_UID}.slice/cri-containerd-" + "c" * 64 + ".scope"
HASH = "d0d9a6e6cf1d6b4b8a0b3c2d1e0f9a8b"


class Row(NamedTuple):
    form: str
    runtime: str
    version: str
    path: str
    has_id: bool
    named_runtime: str | None
    pod: str | None
    """uid, hash or None."""
    own: str | None = None
    """The cgroup of the agent's own container; None for an agent outside pods."""

    @property
    def real_path(self) -> str:
        return self.path.format(id=ID, uid=UID, uid_=UID_, hash=HASH)

    @property
    def roots(self) -> PodRoots:
        if self.own is None:
            return STANDARD
        found = roots_of_own(segments(self.own), OWN_UID)
        assert found is not None
        return found


_SLICES = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice"

ROWS = (
    Row(
        "systemd driver, Burstable",
        "containerd",
        "v1, v2",
        _SLICES + "/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "systemd driver, BestEffort",
        "containerd",
        "v1, v2",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "systemd driver, Guaranteed",
        "containerd",
        "v1, v2",
        "/kubepods.slice/kubepods-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "systemd driver, crun's own level",
        "containerd",
        "v2",
        _SLICES + "/cri-containerd-{id}.scope/container",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "systemd driver, removed",
        "containerd",
        "v2",
        _SLICES + "/cri-containerd-{id}.scope (deleted)",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "systemd driver, crun, removed",
        "containerd",
        "v2",
        _SLICES + "/cri-containerd-{id}.scope/container (deleted)",
        True,
        "containerd",
        "uid",
    ),
    Row("systemd driver", "CRI-O", "v1, v2", _SLICES + "/crio-{id}.scope", True, "cri-o", "uid"),
    Row(
        "systemd driver, crun's own level",
        "CRI-O",
        "v2",
        _SLICES + "/crio-{id}.scope/container",
        True,
        "cri-o",
        "uid",
    ),
    Row(
        "its monitor, no container",
        "CRI-O",
        "v1, v2",
        _SLICES + "/crio-conmon-{id}.scope",
        False,
        None,
        "uid",
    ),
    Row(
        "systemd driver",
        "docker (cri-dockerd)",
        "v1, v2",
        _SLICES + "/docker-{id}.scope",
        True,
        "docker",
        "uid",
    ),
    Row("pod only", "any", "v1, v2", _SLICES, False, None, "uid"),
    Row(
        "static pod",
        "containerd",
        "v1, v2",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{hash}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "hash",
    ),
    Row(
        "colon form, drivers differ",
        "containerd",
        "v1, v2",
        "/system.slice/containerd.service/kubepods-burstable-pod{uid_}.slice:cri-containerd:{id}",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "colon form at the root",
        "containerd",
        "v1",
        "/kubepods-besteffort-pod{uid_}.slice:cri-containerd:{id}",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "colon form, drivers differ",
        "CRI-O",
        "v1",
        "/kubepods-burstable-pod{uid_}.slice:crio:{id}",
        True,
        "cri-o",
        "uid",
    ),
    Row(
        "cgroupfs driver, Burstable",
        "containerd",
        "v1, v2",
        "/kubepods/burstable/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "cgroupfs driver, BestEffort",
        "containerd, k3s",
        "v1, v2",
        "/kubepods/besteffort/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "cgroupfs driver, Guaranteed",
        "containerd",
        "v1, v2",
        "/kubepods/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "cgroupfs driver, static pod",
        "containerd",
        "v1, v2",
        "/kubepods/burstable/pod{hash}/{id}",
        True,
        None,
        "hash",
    ),
    Row(
        "cgroupfs driver, removed",
        "containerd",
        "v2",
        "/kubepods/burstable/pod{uid}/{id} (deleted)",
        True,
        None,
        "uid",
    ),
    Row(
        "cgroupfs driver",
        "CRI-O",
        "v1, v2",
        "/kubepods/burstable/pod{uid}/crio-{id}",
        True,
        "cri-o",
        "uid",
    ),
    Row(
        "cgroupfs driver, its monitor",
        "CRI-O",
        "v1, v2",
        "/kubepods/burstable/pod{uid}/crio-conmon-{id}",
        False,
        None,
        "uid",
    ),
    Row(
        "kubelet under another root",
        "containerd, kind",
        "v1, v2",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "kubelet under another root",
        "containerd",
        "v2",
        "/k8s.slice/k8s-kubepods.slice/k8s-kubepods-besteffort.slice/k8s-kubepods-besteffort-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "kubelet under another root",
        "containerd, kind",
        "v1, v2",
        "/kubelet/kubepods/burstable/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "kubelet in a container",
        "containerd, kind",
        "v1, v2",
        "/docker/" + "f" * 64 + "/kubelet/kubepods/burstable/pod{uid}/{id}",
        True,
        None,
        "uid",
        "/docker/" + "f" * 64 + "/kubelet/kubepods/besteffort/" + _OWN_POD,
    ),
    Row(
        "kubelet in a container",
        "containerd, k3d",
        "v1, v2",
        "/system.slice/docker-" + "f" * 64 + ".scope/kubepods/besteffort/pod{uid}/{id}",
        True,
        None,
        "uid",
        "/system.slice/docker-" + "f" * 64 + ".scope/kubepods/" + _OWN_POD,
    ),
    Row(
        "kubelet in a rootless container",
        "containerd, kind",
        "v2",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"
        + "f" * 64
        + ".scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-"
        + "f" * 64
        + ".scope/container/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-"
        + _OWN_SLICE,
    ),
    Row(
        "cgroups made by the container",
        "sysbox",
        "v1, v2",
        _SLICES + "/crio-{id}.scope/syscont-cgroup-root/system.slice/cron.service",
        True,
        "cri-o",
        "uid",
    ),
    Row(
        "kubelet inside a pod: the outer pod",
        "k3s in a pod",
        "v1, v2",
        "/kubepods/burstable/pod{uid}/{id}/kubepods/besteffort/pod11111111-2222-3333-4444-555555555555/"
        + "e" * 64,
        True,
        None,
        "uid",
    ),
    Row(
        "kubelet inside a pod: the inner pod",
        "k3s in a pod",
        "v1, v2",
        "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/"
        + "e" * 64
        + "/kubepods/besteffort/pod{uid}/{id}",
        True,
        None,
        "uid",
        "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/"
        + "e" * 64
        + "/kubepods/"
        + _OWN_POD,
    ),
    Row(
        "below a session manager, forged",
        "none",
        "v1, v2",
        "/user.slice/user-1000.slice/user@1000.service"
        + _SLICES
        + "/cri-containerd-"
        + "f" * 64
        + ".scope",
        False,
        None,
        None,
    ),
    Row(
        "below a container of another runtime, forged",
        "podman",
        "v1, v2",
        "/machine.slice/libpod-{id}.scope/container/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/"
        + "e" * 64,
        True,
        "podman",
        None,
    ),
    Row(
        "below an LXC container, forged",
        "lxc",
        "v2",
        "/lxc.payload.web/kubepods/burstable/pod{uid}/" + "f" * 64,
        False,
        None,
        None,
    ),
    Row(
        "below a service, forged",
        "none",
        "v1, v2",
        "/system.slice/build.service/kubepods/burstable/pod{uid}/" + "f" * 64,
        False,
        None,
        None,
    ),
    Row(
        "relative, own QoS",
        "containerd",
        "v2",
        "/../../kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "relative, another QoS",
        "containerd",
        "v2",
        "/../../../kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        "uid",
    ),
    Row(
        "relative, cgroupfs, own QoS", "containerd", "v2", "/../../pod{uid}/{id}", True, None, "uid"
    ),
    Row(
        "relative, cgroupfs, another QoS",
        "containerd",
        "v2",
        "/../../../besteffort/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "relative, cgroupfs, from Guaranteed",
        "containerd",
        "v2",
        "/../../burstable/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "relative, from outside kubepods",
        "containerd",
        "v2",
        "/../../kubepods/burstable/pod{uid}/{id}",
        True,
        None,
        "uid",
    ),
    Row(
        "relative, the agent's own pod",
        "containerd",
        "v2",
        "/../cri-containerd-{id}.scope",
        True,
        "containerd",
        None,
    ),
    Row(
        "relative, the agent's own pod, cgroupfs", "containerd", "v2", "/../{id}", True, None, None
    ),
    Row(
        "relative, static pod, removed",
        "containerd",
        "v2",
        "/../../pod{hash}/{id} (deleted)",
        True,
        None,
        "hash",
    ),
    Row(
        "no pod cgroups (cgroupsPerQOS off)",
        "containerd",
        "v1, v2",
        "/system.slice/cri-containerd-{id}.scope",
        True,
        "containerd",
        None,
    ),
    Row("no cgroup parent given", "containerd", "v1, v2", "/k8s.io/{id}", True, "containerd", None),
    Row(
        "systemd driver",
        "docker",
        "v1, v2",
        "/system.slice/docker-{id}.scope",
        True,
        "docker",
        None,
    ),
    Row("cgroupfs driver", "docker", "v1, v2", "/docker/{id}", True, "docker", None),
    Row(
        "colon form",
        "docker",
        "v1",
        "/system.slice/docker.service/system.slice:docker:{id}",
        True,
        "docker",
        None,
    ),
    Row("cgroup parent given", "docker", "v1, v2", "/actions_job/{id}", True, None, None),
    Row("cgroupfs driver", "podman", "v1, v2", "/libpod_parent/libpod-{id}", True, "podman", None),
    Row(
        "systemd driver",
        "podman",
        "v2",
        "/machine.slice/libpod-{id}.scope/container",
        True,
        "podman",
        None,
    ),
    Row(
        "in a podman pod",
        "podman",
        "v2",
        "/machine.slice/machine-libpod_pod_" + "a" * 64 + ".slice/libpod-{id}.scope",
        True,
        "podman",
        None,
    ),
    Row(
        "its monitor, no container",
        "podman",
        "v2",
        "/machine.slice/libpod-conmon-{id}.scope",
        False,
        None,
        None,
    ),
    Row(
        "split cgroups (quadlet)",
        "podman",
        "v2",
        "/system.slice/web.service/libpod-payload-{id}",
        True,
        "podman",
        None,
    ),
    Row(
        "systemd driver",
        "nerdctl",
        "v2",
        "/system.slice/nerdctl-{id}.scope",
        True,
        "containerd",
        None,
    ),
    Row(
        "host service", "none", "v1, v2", "/system.slice/kubepods-helper.service", False, None, None
    ),
    Row(
        "host session",
        "none",
        "v1, v2",
        "/user.slice/user-1000.slice/session-3.scope",
        False,
        None,
        None,
    ),
    Row("the host's init, from a pod", "none", "v2", "/../../../../init.scope", False, None, None),
    Row("root", "none", "v1, v2", "/", False, None, None),
)


def render() -> str:
    """Render the table as Markdown."""
    lines = ["| form | runtime | cgroup | path | read as |", "|---|---|---|---|---|"]
    for row in ROWS:
        parts = []
        if row.pod:
            parts.append("pod UID" if row.pod == "uid" else "config hash")
        if row.has_id:
            parts.append("id")
        if row.named_runtime:
            parts.append(row.named_runtime)
        path = row.path.replace("{uid_}", "<uid_>").replace("{uid}", "<uid>")
        path = path.replace("{id}", "<id>").replace("{hash}", "<hash>")
        for letter in "fae":
            path = path.replace(letter * 64, "<other id>")
        lines.append(
            f"| {row.form}{', seen from a pod there' if row.own else ''} | {row.runtime} | {row.version} | `{path}` | {', '.join(parts) or 'no container'} |"
        )
    return "\n".join(lines) + "\n"
