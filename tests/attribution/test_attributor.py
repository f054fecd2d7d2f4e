"""From real zombies in real cgroups with the kubelets' names to pod and container."""

import json
import os
import shutil
import subprocess
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.cgroups import cgroup, controller, joining, missing, mounts, remove, unified
from support.pods import container_id, pod
from support.zombies import children, start_ticks, wait_until, zombie_children, zombies

from tracer.attribution.attributor import Attributor
from tracer.attribution.pod_cgroups import PodCgroups
from tracer.attribution.pod_roots import roots_below
from tracer.clock import NS, TICK_NS
from tracer.errors import TracerError
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.node_logs import NodeLogs
from tracer.kubernetes.pod import parse_pod
from tracer.model import Cgroup, CgroupOrigin, Child, Container, Identity, WorkloadSource
from tracer.procfs import identity
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import CgroupReading
from tracer.sources.core.source import CoreSource

kernel = pytest.mark.kernel


read_cgroup = partial(identity.read_cgroup, ProcFs())


def process(pid):
    return Identity(pid, start_ticks(pid))


def text_of(pid, text):
    return CgroupReading(start_ticks(pid), text)


def dead(pid, parent, **changes):
    ticks = start_ticks(pid)
    return Child(Identity(pid, ticks), parent, ticks * TICK_NS, **changes)


@pytest.fixture
def web():
    """A pod of its own for each test: other tests make cgroups at the same time."""
    return pod("web-" + uuid.uuid4().hex[:8], uid=str(uuid.uuid4()))


def names(raw):
    uid = raw["metadata"]["uid"]
    return uid, uid.replace("-", "_"), container_id(uid, "app", 0)


def index_of(*pods):
    index = PodIndex()
    for one in pods:
        index.apply(parse_pod(one))
    index.expecting = index.synced = True
    return index


FORMS = {
    "systemd": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
    "crun": "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid_}.slice/cri-containerd-{id}.scope/container",
    "cgroupfs": "kubepods/pod{uid}/{id}",
    "cri-o": "kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope",
    "colon": "system.slice/containerd.service/kubepods-burstable-pod{uid_}.slice:cri-containerd:{id}",
}


@kernel
@pytest.mark.parametrize("form", FORMS)
def test_zombie_keeps_its_v2_cgroup(web, form):
    uid, uid_, ident = names(web)
    path = FORMS[form].format(uid=uid, uid_=uid_, id=ident)
    with cgroup(unified(), path) as folder, zombies(1, wrapper=joining(folder)) as family:
        found = Attributor(read_cgroup, index_of(web), None).attribute(
            dead(family.pids[0], family.parent_pid), family.parent_pid
        )
    assert found.cgroup == Cgroup("/" + path, CgroupOrigin.ZOMBIE)
    assert found.container.id == ident
    assert found.container.pod_uid == uid
    assert found.container.runtime == ("cri-o" if form == "cri-o" else "containerd")
    assert (found.workload.pod, found.workload.container) == (web["metadata"]["name"], "app")


@kernel
def test_zombie_in_a_removed_v2_cgroup(web):
    uid, uid_, ident = names(web)
    path = FORMS["cgroupfs"].format(uid=uid, uid_=uid_, id=ident)
    with cgroup(unified(), path) as folder, zombies(1, wrapper=joining(folder)) as family:
        for pid in (family.process.pid, family.parent_pid):
            (unified() / "cgroup.procs").write_text(str(pid))
        folder.rmdir()
        found = Attributor(read_cgroup, index_of(web), None).attribute(
            dead(family.pids[0], family.parent_pid), family.parent_pid
        )
    assert found.cgroup == Cgroup(f"/{path} (deleted)", CgroupOrigin.ZOMBIE)
    assert found.workload.container == "app"


@kernel
def test_zombie_in_v1_controllers_is_found_by_its_parent(web):
    uid, uid_, ident = names(web)
    path = FORMS["systemd"].format(uid=uid, uid_=uid_, id=ident)
    with cgroup(controller("pids"), path) as folder, zombies(1, wrapper=joining(folder)) as family:
        child = dead(family.pids[0], family.parent_pid)
        attributor = Attributor(read_cgroup, index_of(web), None)
        assert b"kubepods" not in read_cgroup(family.pids[0]).text, (
            "the kernel hides it of a zombie"
        )
        found = attributor.attribute(child, family.parent_pid)
        orphan = attributor.attribute(child, None)
        kernel_seen = attributor.attribute(
            replace(child, cgroup=Cgroup("/" + path, CgroupOrigin.KERNEL)), None
        )
    assert found.cgroup == Cgroup("/" + path, CgroupOrigin.PARENT)
    assert found.workload.container == "app"
    assert (orphan.container, orphan.workload, orphan.unit) == (None, None, None)
    assert kernel_seen.cgroup.origin is CgroupOrigin.KERNEL
    assert kernel_seen.workload == found.workload


@kernel
def test_runtimes_service_in_v2_does_not_hide_the_container_in_v1(web):
    """A hybrid node whose runtime uses only the v1 controllers."""
    uid, uid_, ident = names(web)
    path = FORMS["cgroupfs"].format(uid=uid, uid_=uid_, id=ident)
    with (
        cgroup(unified(), f"system.slice/containerd-{ident[:8]}.service") as service,
        cgroup(controller("pids"), path) as folder,
        zombies(1, wrapper=joining(service, folder)) as family,
    ):
        attributor = Attributor(read_cgroup, index_of(web), None)
        child = dead(family.pids[0], family.parent_pid)
        found = attributor.attribute(child, family.parent_pid)
        orphan = attributor.attribute(child, None)
    assert found.cgroup == Cgroup("/" + path, CgroupOrigin.PARENT)
    assert found.container.pod_uid == uid
    assert orphan.unit == f"containerd-{ident[:8]}.service"


@kernel
def test_host_service_whose_parent_is_in_a_container_stays_a_host_service(web):
    uid, uid_, ident = names(web)
    path = FORMS["cgroupfs"].format(uid=uid, uid_=uid_, id=ident)
    with (
        cgroup(unified(), path) as pods,
        cgroup(unified(), f"system.slice/zt-{ident[:8]}.service") as service,
        zombies(1, wrapper=joining(service)) as family,
    ):
        (pods / "cgroup.procs").write_text(str(family.parent_pid))
        found = Attributor(read_cgroup, index_of(web), None).attribute(
            dead(family.pids[0], family.parent_pid), family.parent_pid
        )
        parent = Attributor(read_cgroup, index_of(web), None).attribute_process(
            process(family.parent_pid)
        )
        (unified() / "cgroup.procs").write_text(str(family.parent_pid))
    assert (found.unit, found.container) == (f"zt-{ident[:8]}.service", None)
    assert parent.workload.container == "app"


@kernel
@pytest.mark.parametrize(("agents", "form"), [("systemd", "crun"), ("cgroupfs", "cgroupfs")])
def test_relative_paths_from_a_cgroup_namespace(web, agents, form):
    """What an agent in a pod of its own reads on v2."""
    uid, uid_, ident = names(web)
    path = FORMS[form].format(uid=uid, uid_=uid_, id=ident)
    own_uid = str(uuid.uuid4())
    own = FORMS[agents].format(uid=own_uid, uid_=own_uid.replace("-", "_"), id="a" * 64)
    with (
        cgroup(unified(), path) as folder,
        cgroup(unified(), own) as agent,
        zombies(1, wrapper=joining(folder)) as family,
    ):
        script = f'echo $$ > {agent}/cgroup.procs; exec unshare --cgroup cat "/proc/{family.pids[0]}/cgroup"'
        text = subprocess.run(["sh", "-ec", script], check=True, capture_output=True).stdout
        assert b"0::/../.." in text
        found = Attributor(
            lambda _pid: text_of(family.pids[0], text), index_of(web), None
        ).attribute(dead(family.pids[0], family.parent_pid), None)
    assert found.container.id == ident
    assert found.workload.container == "app"


@kernel
def test_tenants_own_cgroups_change_nothing(web):
    uid, uid_, ident = names(web)
    real = FORMS["cgroupfs"].format(uid=uid, uid_=uid_, id=ident)
    fake = "kubepods/pod11111111-2222-3333-4444-555555555555/" + "9" * 64
    with (
        cgroup(unified(), f"{real}/{fake}") as folder,
        zombies(1, wrapper=joining(folder)) as family,
    ):
        found = Attributor(read_cgroup, index_of(web), None).attribute(
            dead(family.pids[0], family.parent_pid), family.parent_pid
        )
    assert (found.container.id, found.container.pod_uid) == (ident, uid)


@kernel
@pytest.mark.parametrize("runtime", ["runc"])  # Debian's crun 1.8 refuses a hybrid machine
def test_container_of_a_real_runtime(web, runtime, tmp_path):
    """A zombie in a container that a runtime started under a kubelet's cgroup name."""
    uid, _, ident = names(web)
    busybox = Path("/bin/busybox")
    if not busybox.exists() or shutil.which(runtime) is None:
        pytest.skip(f"no {runtime} or no busybox here")
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    (tmp_path / "rootfs/bin/sh").write_bytes(busybox.read_bytes())
    (tmp_path / "rootfs/bin/sh").chmod(0o755)
    (tmp_path / "rootfs/proc").mkdir()
    subprocess.run([runtime, "spec"], cwd=tmp_path, check=True)
    spec = json.loads((tmp_path / "config.json").read_text())
    spec["process"] |= {
        "terminal": False,
        "args": ["sh", "-c", "sh -c : & exec sh -c 'while :; do read x || exit; done'"],
    }
    spec["linux"]["cgroupsPath"] = f"/kubepods/burstable/pod{uid}/{ident}"
    spec["linux"]["resources"] = {}
    spec["mounts"] = [one for one in spec["mounts"] if one["type"] == "proc"]
    (tmp_path / "config.json").write_text(json.dumps(spec))
    name = f"zt-{ident[:12]}"
    running = subprocess.Popen(
        [runtime, "--root", str(tmp_path / "state"), "run", name],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip

    def container_zombie():
        if running.poll() is not None:
            raise AssertionError(running.stdout.read().decode())
        for init in children(running.pid):
            if dead_children := zombie_children(init):
                return init, dead_children[0]
        return None

    try:
        init, zombie = wait_until(container_zombie, what="a zombie in the container")
        own = read_cgroup(zombie)
        found = Attributor(read_cgroup, index_of(web), None).attribute(dead(zombie, init), init)
    finally:
        running.stdin.close()
        running.wait(10)
        delete = [runtime, "--root", str(tmp_path / "state"), "delete", "-f", name]
        subprocess.run(delete, check=False, capture_output=True)
        for mount, _ in [*mounts("cgroup"), *mounts("cgroup2")]:
            for made_by_runtime in (
                f"kubepods/burstable/pod{uid}",
                "kubepods/burstable",
                "kubepods",
            ):
                remove(mount / made_by_runtime)
    assert found.container.id == ident, own
    assert found.workload.container == "app"


@kernel
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_kernel_seen_cgroup_of_a_zombie_older_than_the_agent(web, version):
    """The css_set of a dead task still names its v1 cgroups: only /proc hides them."""
    uid, uid_, ident = names(web)
    path = FORMS["systemd"].format(uid=uid, uid_=uid_, id=ident)
    mount = unified() if version == "v2" else controller("pids")
    with cgroup(mount, path) as folder, zombies(1, wrapper=joining(folder)) as family:
        source = CoreSource(min_age_ns=0)
        try:
            source.start()
        except TracerError as error:
            missing(f"the core source cannot work here: {error}")
        try:
            snapshot = source.snapshot()
            [child] = [
                snapshot.child(place)
                for place, key in enumerate(snapshot.keys())
                if key[0] == family.pids[0]
            ]
        finally:
            source.close()
    found = Attributor(nobody, index_of(web), None).attribute(child, None)
    assert found.cgroup == Cgroup("/" + path, CgroupOrigin.KERNEL)
    assert found.workload.container == "app"


def made(path, origin=CgroupOrigin.KERNEL):
    return Child(Identity(7, 1), 6, 0, cgroup=Cgroup(path, origin))


def nobody(_pid):
    return None


UID = "b5b4bd95-5f3c-4d0a-9a3e-2f1d6c7b8a90"
POD_PATH = f"/kubepods/pod{UID}/{'1' * 64}"


def test_kernel_seen_cgroup_needs_no_reading():
    def read(_pid):
        raise AssertionError("read /proc")

    found = Attributor(read, None, None).attribute(made(POD_PATH), 6)
    assert found.container == Container("1" * 64, None, UID)
    assert found.workload is None


def test_nothing_known_is_no_error():
    child = Child(Identity(7, 1), 6, 0)
    assert (
        Attributor(nobody, PodIndex(), NodeLogs(Path("/nowhere"))).attribute(child, 6).cgroup
        is None
    )


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"0::", b"0::relative\n", b":::::\n"])
def test_garbage_in_proc_is_no_error(garbage):
    found = Attributor(lambda _pid: CgroupReading(1, garbage), None, None).attribute(
        Child(Identity(7, 1), 6, 0), 6
    )
    assert found.container is None


def test_node_logs_name_the_pod_while_the_api_is_away(tmp_path):
    links = tmp_path / "var/log/containers"
    links.mkdir(parents=True)
    (links / f"web-1_shop_app-{'1' * 64}.log").touch()
    attributor = Attributor(nobody, PodIndex(), NodeLogs(tmp_path))
    found = attributor.attribute(made(POD_PATH), 6)
    workload = found.workload
    assert (workload.namespace, workload.pod, workload.container) == ("shop", "web-1", "app")
    assert workload.source is WorkloadSource.NODE_LOGS
    assert not attributor.awaiting_pod(found)


def test_node_logs_name_the_container_before_the_pods_status_does(tmp_path):
    links = tmp_path / "var/log/containers"
    links.mkdir(parents=True)
    (links / f"web_example_app-{'1' * 64}.log").touch()
    index = index_of(pod("web", uid=UID, running=False))
    found = Attributor(nobody, index, NodeLogs(tmp_path)).attribute(made(POD_PATH), 6)
    assert (found.workload.container, found.workload.source) == ("app", WorkloadSource.API)


def test_a_pod_is_awaited_for_some_seconds_while_the_watch_may_show_it():
    now = [0]
    index = PodIndex()
    attributor = Attributor(nobody, index, None, now_boot_ns=lambda: now[0])
    child = made(POD_PATH)
    assert not attributor.awaiting_pod(attributor.attribute(child, 6)), "the watch is down"
    index.expecting = True
    assert attributor.awaiting_pod(attributor.attribute(child, 6))
    index.apply(parse_pod(pod("web", uid=UID, running=False)))
    assert attributor.awaiting_pod(attributor.attribute(child, 6)), (
        "the container's name is missing"
    )
    now[0] = 6 * NS
    assert not attributor.awaiting_pod(attributor.attribute(child, 6))
    assert not attributor.awaiting_pod(attributor.attribute(made("/system.slice/cron.service"), 6))
    assert not attributor.awaiting_pod(attributor.attribute(made("/docker/" + "1" * 64), 6))


def test_a_complete_pod_is_not_awaited():
    raw = pod("web", uid=UID)
    path = f"/kubepods/pod{UID}/{container_id(UID, 'app', 0)}"
    attributor = Attributor(nobody, index_of(raw), None)
    found = attributor.attribute(made(path), 6)
    assert found.workload.container == "app"
    assert found.container.runtime == "containerd", "the status names what the path does not"
    assert not attributor.awaiting_pod(found)


def test_pod_in_a_plain_container_is_known_by_where_the_kubelet_is():
    """A kubelet in a container (kind) has its pods below it; who is not in one of them is not."""
    outer = "f" * 64
    path = f"/docker/{outer}{POD_PATH}"
    known = index_of(pod("web", uid=UID))
    inside = PodCgroups(roots_below(("docker", outer)))
    real = Attributor(nobody, known, None, detect=lambda: inside)
    fake = Attributor(nobody, known, None)
    assert real.attribute(made(path), 6).workload.pod == "web"
    assert fake.attribute(made(path), 6).container == Container(outer, "docker")
    assert fake.attribute(made(path), 6).workload is None


def test_attribution_of_this_process():
    found = Attributor(read_cgroup, None, None).attribute_process(process(os.getpid()))
    assert found.cgroup is not None
