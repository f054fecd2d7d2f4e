"""Cgroups that tenants made with the names of another tenant's pod: never that pod's.

Each forger has a real cgroup that was delegated to its uid, makes the path itself, and
leaves a real zombie there.
"""

import os
import uuid
from functools import partial

import pytest
from support.cgroups import cgroup, controller, remove, unified
from support.pods import container_id, pod
from support.zombies import start_ticks, zombies

from tracer.attribution.attributor import Attributor
from tracer.attribution.cgroup import segments
from tracer.attribution.pod_cgroups import PodCgroups
from tracer.attribution.pod_roots import STANDARD, roots_of_own
from tracer.clock import NS, TICK_NS
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.node_logs import NodeLogs
from tracer.kubernetes.pod import parse_pod
from tracer.model import Cgroup, CgroupOrigin, Child, Container, Identity
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup

kernel = pytest.mark.kernel
TENANT = 65534
OUTER = "f" * 64
OWN = str(uuid.uuid4())
OWN_SLICE = (
    f"/kubepods.slice/kubepods-pod{OWN.replace('-', '_')}.slice/cri-containerd-{'a' * 64}.scope"
)

POD_FORMS = {
    "systemd": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
    "kind": "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid_}.slice/cri-containerd-{id}.scope",
    "cgroupfs": "kubepods/burstable/pod{uid}/{id}",
    "colon": "system.slice/containerd.service/kubepods-pod{uid_}.slice:cri-containerd:{id}",
    "folder": "burstable/pod{uid}/{id}",
    "container": "cri-containerd-{id}.scope",
    "bare id": "{id}",
}
PLACES = {
    "session manager": ("user.slice/user-1000.slice/user@1000.service", "user@1000.service", None),
    "podman": (f"machine.slice/libpod-{OUTER}.scope/container", None, Container(OUTER, "podman")),
    "docker": (f"docker/{OUTER}", None, Container(OUTER, "docker")),
    "lxc": ("lxc.payload.web", None, None),
    "nspawn": ("machine.slice/machine-web.scope", "machine-web.scope", None),
    "service": ("system.slice/build.service", "build.service", None),
}


@pytest.fixture
def victim():
    return pod("victim-" + uuid.uuid4().hex[:8], uid=str(uuid.uuid4()))


def index_of(*pods):
    index = PodIndex()
    for one in pods:
        index.apply(parse_pod(one))
    index.expecting = index.synced = True
    return index


def named(form, raw):
    uid = raw["metadata"]["uid"]
    return POD_FORMS[form].format(
        uid=uid, uid_=uid.replace("-", "_"), id=container_id(uid, "app", 0)
    )


def forging(delegated, path):
    """A wrapper: the tenant's processes make a path in the cgroup that is theirs, and enter it."""
    for name in (".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"):
        if (delegated / name).exists():
            os.chown(delegated / name, TENANT, TENANT)
    enter = f'mkdir -p "{delegated}/{path}"; echo 0 > "{delegated}/{path}/cgroup.procs"; exec "$@"'
    tenant = f"setpriv --reuid {TENANT} --regid {TENANT} --clear-groups sh -ec '{enter}' sh"
    return (
        "sh", "-ec", f'echo $$ > {delegated}/cgroup.procs; exec {tenant} unshare -rpf --kill-child "$@"', "sh",
    )  # fmt: skip


def removed(folder, path):
    """Remove what the tenant made, the deepest first."""
    parts = path.split("/")
    for depth in range(len(parts), 0, -1):
        remove(folder / "/".join(parts[:depth]))


def child_of(family):
    pid = family.pids[0]
    return Child(Identity(pid, start_ticks(pid)), family.parent_pid, start_ticks(pid) * TICK_NS)


@kernel
@pytest.mark.parametrize("agent", ["outside pods", "in a pod"])
@pytest.mark.parametrize("form", POD_FORMS)
@pytest.mark.parametrize("place", PLACES)
def test_forged_path_is_not_the_pods(victim, agent, form, place):
    above, unit, container = PLACES[place]
    roots = STANDARD if agent == "outside pods" else roots_of_own(segments(OWN_SLICE), OWN)
    path = named(form, victim)
    attributor = Attributor(
        partial(read_cgroup, ProcFs()), index_of(victim), None, detect=lambda: PodCgroups(roots)
    )
    with cgroup(unified(), above) as delegated:
        try:
            with zombies(1, wrapper=forging(delegated, path)) as family:
                found = attributor.attribute(child_of(family), family.parent_pid)
        finally:
            removed(delegated, path)
    assert found.cgroup == Cgroup(f"/{above}/{path}", CgroupOrigin.ZOMBIE)
    assert (found.workload, found.unit, found.container) == (None, unit, container)


@kernel
def test_forged_path_in_a_version_1_controller_is_not_the_pods(victim):
    path = named("cgroupfs", victim)
    above = "user.slice/user-1000.slice/user@1000.service"
    attributor = Attributor(partial(read_cgroup, ProcFs()), index_of(victim), None)
    with cgroup(controller("pids"), above) as delegated:
        try:
            with zombies(1, wrapper=forging(delegated, path)) as family:
                found = attributor.attribute(child_of(family), family.parent_pid)
        finally:
            removed(delegated, path)
    assert found.cgroup.origin is CgroupOrigin.PARENT
    assert (found.workload, found.container, found.unit) == (None, None, "user@1000.service")


@kernel
@pytest.mark.parametrize("form", ["systemd", "cgroupfs", "colon", "folder", "container", "bare id"])
def test_forged_path_below_a_pods_own_container_is_that_containers(victim, form):
    own = pod("tenant", uid=str(uuid.uuid4()))
    above, path = named("cgroupfs", own), named(form, victim)
    attributor = Attributor(partial(read_cgroup, ProcFs()), index_of(victim, own), None)
    with cgroup(unified(), above) as delegated:
        try:
            with zombies(1, wrapper=forging(delegated, path)) as family:
                found = attributor.attribute(child_of(family), family.parent_pid)
        finally:
            removed(delegated, path)
    assert found.workload.pod == "tenant"
    assert found.container.pod_uid == own["metadata"]["uid"]


def attribute(path, *, index=None, logs=None, **options):
    attributor = Attributor(lambda _pid: None, index, logs, **options)
    return attributor.attribute_cgroup(Cgroup(path, CgroupOrigin.KERNEL))


def test_container_of_another_pod_below_a_pods_cgroup_is_neithers(victim):
    """The API knows whose the container is: one of the two names in the path is a lie."""
    other = pod("other", uid=str(uuid.uuid4()))
    path = f"/kubepods/pod{other['metadata']['uid']}/{container_id(victim['metadata']['uid'], 'app', 0)}"
    found = attribute(path, index=index_of(victim, other))
    assert (found.workload, found.container) == (None, None)
    assert found.cgroup.path == path


def test_static_pods_container_is_not_another_pods():
    config_hash = "d0d9a6e6cf1d6b4b8a0b3c2d1e0f9a8b"
    static = pod(
        "etcd", uid=str(uuid.uuid4()), annotations={"kubernetes.io/config.mirror": config_hash}
    )
    path = f"/kubepods/pod{config_hash}/{container_id(static['metadata']['uid'], 'app', 0)}"
    assert attribute(path, index=index_of(static)).workload.pod == "etcd"


def test_container_that_the_api_does_not_know_yet_is_its_pods(victim):
    path = f"/kubepods/pod{victim['metadata']['uid']}/{'9' * 64}"
    found = attribute(path, index=index_of(victim))
    assert found.workload.pod == victim["metadata"]["name"]
    assert found.workload.container is None
    assert found.container.id == "9" * 64


def test_node_logs_do_not_give_a_pod_the_container_of_another(tmp_path):
    links, folders = tmp_path / "var/log/containers", tmp_path / "var/log/pods"
    uid = str(uuid.uuid4())
    for folder in (links, folders / f"shop_mine_{uid}", folders / f"shop_web_{uuid.uuid4()}"):
        folder.mkdir(parents=True)
    (links / f"web_shop_app-{'1' * 64}.log").touch()
    found = attribute(f"/kubepods/pod{uid}/{'1' * 64}", logs=NodeLogs(tmp_path))
    assert found.workload is None
    forged = attribute(
        f"/user.slice/user-1.slice/user@1.service/{'1' * 64}", logs=NodeLogs(tmp_path)
    )
    assert (forged.workload, forged.container, forged.unit) == (None, None, "user@1.service")


def test_pods_are_looked_for_again_when_a_listed_pod_is_elsewhere(victim):
    """The kubelet came back with another --cgroup-root."""
    now, detected, outside = [0], [PodCgroups(roots_of_own(segments(OWN_SLICE), OWN))], []
    attributor = Attributor(
        lambda _pid: None,
        index_of(victim),
        None,
        detect=lambda: detected[-1],
        outside=lambda *what: outside.append(what),
        now_boot_ns=lambda: now[0],
    )
    path = Cgroup("/" + named("cgroupfs", victim), CgroupOrigin.KERNEL)
    detected.append(PodCgroups(STANDARD))
    assert attributor.attribute_cgroup(path).workload is None, "asked too soon"
    now[0] = 61 * NS
    assert attributor.attribute_cgroup(path).workload.pod == victim["metadata"]["name"]
    assert outside == []


def test_pods_that_are_never_where_they_are_looked_for_are_mentioned_once(victim):
    now, outside = [0], []
    attributor = Attributor(
        lambda _pid: None,
        index_of(victim),
        None,
        outside=lambda *what: outside.append(what),
        now_boot_ns=lambda: now[0],
    )
    path = "/srv/" + named("cgroupfs", victim)
    for minute in range(1, 4):
        now[0] = minute * 61 * NS
        assert attributor.attribute_cgroup(Cgroup(path, CgroupOrigin.KERNEL)).workload is None
    assert [(what[0], what[1]) for what in outside] == [(path, victim["metadata"]["uid"])]
