"""Where this node's kubelet puts pods, found from the agent's own cgroup."""

import json
import shlex
import subprocess
import sys
import uuid
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cgroups import cgroup, controller, remove, unified

from tracer.attribution.cgroup import Found, find, segments
from tracer.attribution.pod_cgroups import choose_pod_cgroups
from tracer.attribution.pod_roots import STANDARD, PodRoots, roots_of_own
from tracer.errors import UsageError
from tracer.procfs.own_cgroup import OwnCgroup

kernel = pytest.mark.kernel
OWN = "0a0a0a0a-1b1b-4c2c-8d3d-4e4e4e4e4e4e"
OWN_ = OWN.replace("-", "_")
OTHER = "11111111-2222-3333-4444-555555555555"
OTHER_ = OTHER.replace("-", "_")
ID, AGENT, NODE = "9" * 64, "a" * 64, "f" * 64

LAYOUTS = {
    # the agent's own cgroup, another pod's, the root
    "systemd": (
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{OWN_}.slice/cri-containerd-{AGENT}.scope",
        f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{OTHER_}.slice/cri-containerd-{ID}.scope",
        "/kubepods.slice",
    ),
    "systemd, Guaranteed, crun": (
        f"/kubepods.slice/kubepods-pod{OWN_}.slice/crio-{AGENT}.scope/container",
        f"/kubepods.slice/kubepods-pod{OTHER_}.slice/crio-{ID}.scope/container",
        "/kubepods.slice",
    ),
    "cgroupfs": (
        f"/kubepods/burstable/pod{OWN}/{AGENT}",
        f"/kubepods/pod{OTHER}/{ID}",
        "/kubepods",
    ),
    "kubelet.slice": (
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{OWN_}.slice/cri-containerd-{AGENT}.scope",
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{OTHER_}.slice/cri-containerd-{ID}.scope",
        "/kubelet.slice/kubelet-kubepods.slice",
    ),
    "a root of two slices": (
        f"/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-pod{OWN_}.slice/cri-containerd-{AGENT}.scope",
        f"/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-pod{OTHER_}.slice/cri-containerd-{ID}.scope",
        "/a.slice/a-b.slice/a-b-kubepods.slice",
    ),
    "drivers differ": (
        f"/system.slice/containerd.service/kubepods-burstable-pod{OWN_}.slice:cri-containerd:{AGENT}",
        f"/system.slice/containerd.service/kubepods-pod{OTHER_}.slice:cri-containerd:{ID}",
        "/system.slice/containerd.service",
    ),
    "kubelet in a container": (
        f"/docker/{NODE}/kubelet/kubepods/burstable/pod{OWN}/{AGENT}",
        f"/docker/{NODE}/kubelet/kubepods/besteffort/pod{OTHER}/{ID}",
        f"/docker/{NODE}/kubelet/kubepods",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("uid", [OWN, None, "99999999-aaaa-4bbb-8ccc-dddddddddddd"])
def test_root_comes_from_the_agents_own_cgroup(layout, uid):
    own, other, root = LAYOUTS[layout]
    found = choose_pod_cgroups(OwnCgroup((own,), relative=False, initial=True), pod_uid=uid)
    assert str(found.roots) == root
    assert find(other, found.roots).container.pod_uid == OTHER
    for elsewhere in ("/user.slice/user-1.slice/user@1.service", f"/docker/{ID}", "/x"):
        container = find(elsewhere + other, found.roots).container
        assert container is None or container.pod_uid is None


def test_kubelet_in_a_pod_is_known_by_the_agents_own_uid():
    outer = f"/kubepods/pod{OTHER}/{NODE}"
    own = OwnCgroup((f"{outer}/kubepods/pod{OWN}/{AGENT}",), relative=False, initial=True)
    assert str(choose_pod_cgroups(own, pod_uid=OWN).roots) == f"{outer}/kubepods"


def test_outside_a_pod_the_standard_cgroups_count():
    own = OwnCgroup(("/system.slice/zombie-tracer.service",), relative=False, initial=True)
    assert choose_pod_cgroups(own).roots == STANDARD


def test_every_hierarchy_of_a_hybrid_node_counts():
    own, _, root = LAYOUTS["cgroupfs"]
    seen = OwnCgroup(("/system.slice/containerd.service", own), relative=False, initial=True)
    assert str(choose_pod_cgroups(seen, pod_uid=OWN).roots) == root


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("/kubelet.slice", LAYOUTS["kubelet.slice"][1]),
        ("/kubelet.slice/kubelet-kubepods.slice/", LAYOUTS["kubelet.slice"][1]),
        (f"/docker/{NODE}/kubelet", LAYOUTS["kubelet in a container"][1]),
        (f"/docker/{NODE}/kubelet/kubepods", LAYOUTS["kubelet in a container"][1]),
        ("/", LAYOUTS["cgroupfs"][1]),
        ("/", LAYOUTS["systemd"][1]),
        ("/system.slice/containerd.service", LAYOUTS["drivers differ"][1]),
    ],
)
def test_root_that_the_user_gives(given, path):
    own = OwnCgroup((LAYOUTS["cgroupfs"][0],), relative=False, initial=True)
    found = choose_pod_cgroups(own, cgroup_root=given)
    assert find(path, found.roots).container.pod_uid == OTHER
    elsewhere = find("/user.slice" + path, found.roots).container
    assert elsewhere is None or elsewhere.pod_uid is None


@pytest.mark.parametrize("given", ["kubelet", "", "/a/../b"])
def test_root_that_is_no_path_is_a_usage_error(given):
    own = OwnCgroup((), relative=False, initial=True)
    with pytest.raises(UsageError, match=r"--kubelet-cgroup-root .* is not a path from the root"):
        choose_pod_cgroups(own, cgroup_root=given)


def test_relative_paths_are_read_from_the_node_root():
    own, other, _ = LAYOUTS["systemd"]
    found = choose_pod_cgroups(OwnCgroup((own,), relative=True, initial=True), pod_uid=OWN)
    below = other.removeprefix("/kubepods.slice")
    assert found.from_proc("/../../.." + below) == other
    assert found.from_proc("/../../../../init.scope") == "/init.scope"
    forged = f"/../../../../user.slice/user-1.slice/user@1.service{other}"
    assert find(found.from_proc(forged), found.roots) == Found(None, node_made=False)
    sibling = found.from_proc(f"/../cri-containerd-{ID}.scope")
    assert find(sibling, found.roots).container.pod_uid == OWN


def test_paths_of_the_kernel_are_read_from_the_root_of_a_node_in_a_container():
    own, other, _ = LAYOUTS["kubelet.slice"]
    unknown = choose_pod_cgroups(OwnCgroup((own,), relative=True, initial=False), pod_uid=OWN)
    assert unknown.from_kernel(f"/docker/{NODE}{other}") is None
    relative = "/../.." + other.removeprefix("/kubelet.slice/kubelet-kubepods.slice")
    assert unknown.with_base_from(f"/docker/{NODE}{other}", "/") is unknown
    assert unknown.with_base_from(f"/docker/{NODE}{other}", relative) is unknown
    assert unknown.with_base_from(f"/docker/{NODE}{other}", f"/x{other}") is unknown
    known = unknown.with_base_from(f"/docker/{NODE}{other}", unknown.from_proc(relative))
    assert known.kernel_base == ("docker", NODE)
    assert known.from_kernel(f"/docker/{NODE}{other}") == other
    assert known.from_kernel(f"/docker/{ID}{other}") is None


names = st.lists(
    st.sampled_from(["kubepods", "kubepods.slice", "a", f"pod{OTHER}", ID, "burstable"]), max_size=5
)


@given(names, names)
def test_what_is_not_below_the_root_is_no_pod(above, below):
    roots = PodRoots(kubepods=(("node", "kubepods"),))
    path = "/" + "/".join([*above, *below])
    container = find(path, roots).container
    assert container is None or container.pod_uid is None


def test_roots_of_a_path_without_a_pod():
    assert roots_of_own(segments(f"/system.slice/cri-containerd-{AGENT}.scope"), OWN) is None


READ = """
import json, sys
from dataclasses import astuple
from tracer.procfs.fs import ProcFs
from tracer.procfs.own_cgroup import read_own_cgroup
found = read_own_cgroup(ProcFs(), sys.argv[1] or None)
print(json.dumps([found.paths, found.relative, found.initial, open("/proc/self/cgroup").read()]))
"""


def run_in(folders, *command, namespace=True):
    join = "; ".join(f"echo 0 > {folder}/cgroup.procs" for folder in folders)
    unshare = "exec unshare --cgroup" if namespace else "exec"
    rights = "setpriv --bounding-set=-all,+bpf,+perfmon,+sys_ptrace --no-new-privs"  # as shipped
    done = subprocess.run(
        ["sh", "-ec", f'{join}; {unshare} {rights} "$@"', "sh", *command],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


@kernel
@pytest.mark.parametrize("uid", [OWN, ""])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_own_cgroup_is_found_from_a_cgroup_namespace(layout, uid):
    """A runtime on v2: /proc/self/cgroup is `/`, the path comes from init's mount."""
    own, _, root = LAYOUTS[layout]
    decoy = f"/user.slice/user-1000.slice/user@1000.service{own}"
    with cgroup(unified(), own) as folder, cgroup(unified(), decoy):
        paths, relative, initial, text = run_in([folder], sys.executable, "-c", READ, uid)
    assert "0::/\n" in text
    assert (own in paths, relative, initial) == (True, True, True)
    assert not any(path.startswith("/user.slice") for path in paths)
    assert str(choose_pod_cgroups(OwnCgroup(tuple(paths), relative, initial)).roots) == root


@kernel
def test_own_cgroup_without_a_cgroup_namespace():
    own = LAYOUTS["cgroupfs"][0]
    with cgroup(unified(), own) as folder, cgroup(controller("pids"), own) as pids:
        paths, relative, initial, _ = run_in(
            [folder, pids], sys.executable, "-c", READ, OWN, namespace=False
        )
    assert own in paths
    assert (relative, initial) == (False, True)


@kernel
def test_own_cgroup_in_version_1_controllers_from_a_cgroup_namespace():
    own, _, root = LAYOUTS["cgroupfs"]
    with cgroup(controller("pids"), own) as pids:
        paths, relative, initial, _ = run_in([pids], sys.executable, "-c", READ, OWN)
    found = choose_pod_cgroups(OwnCgroup(tuple(paths), relative, initial), pod_uid=OWN)
    assert (str(found.roots), found.own, relative, initial) == (root, segments(own), True, True)


NODE_INIT = """
umount {mount}
mount -t cgroup2 none {mount}
mount -t proc proc /proc
mkdir -p {mount}{own}
sh -ec 'echo 0 > {mount}{own}/cgroup.procs; exec unshare --cgroup "$@"' sh {agent}
rmdir {mount}{own}
"""


def run_on_a_node_in_a_container(own, program, *arguments, pod=None):
    """Run a program in a pod of a node with its own cgroup namespace and pid namespace.

    Args:
        own: the cgroup of the program, from the node's root.
        program: Python.
        arguments: of the program.
        pod: another pod's cgroup; its zombie's parent is `$POD_COMMAND`.
    """
    mount = unified()
    agent = shlex.join([sys.executable, "-c", program, *arguments])
    script = NODE_INIT.format(mount=mount, own=own, agent=agent)
    if pod is not None:
        script = script.replace("mkdir", ZOMBIE.format(folder=f"{mount}{pod}") + "mkdir", 1)
        script += f"kill $POD; wait $POD || true; rmdir {mount}{pod}"
    with ExitStack() as stack:
        node = stack.enter_context(cgroup(mount, f"docker/{uuid.uuid4().hex}{uuid.uuid4().hex}"))
        for path in filter(None, (own, pod)):
            for depth in range(1, len(segments(path)) + 1):
                stack.callback(remove, node / "/".join(segments(path)[:depth]))
        inside = "exec unshare --cgroup --mount --pid --fork --kill-child sh -ec"
        done = subprocess.run(
            ["sh", "-ec", f'echo 0 > {node}/cgroup.procs; {inside} "$0"', script],
            check=False,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@kernel
def test_own_cgroup_on_a_node_that_is_a_container():
    """The kind of node that kind and minikube's docker driver make."""
    own, _, root = LAYOUTS["kubelet.slice"]
    paths, relative, initial, _ = run_on_a_node_in_a_container(own, READ, OWN)
    assert (own in paths, relative, initial) == (True, True, False)
    assert str(choose_pod_cgroups(OwnCgroup(tuple(paths), relative, initial)).roots) == root


ZOMBIE = """
mkdir -p {folder}
sh -c 'echo 0 > {folder}/cgroup.procs; sh -c : & exec sleep 600' &
POD=$!
while ! grep -q ' Z ' /proc/[0-9]*/stat; do :; done
"""

ATTRIBUTE = """
import json, sys
from functools import partial
from tracer.attribution.attributor import Attributor
from tracer.attribution.pod_cgroups import choose_pod_cgroups
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup
from tracer.procfs.own_cgroup import read_own_cgroup
from tracer.sources.core.source import CoreSource

proc = ProcFs()
own = read_own_cgroup(proc, sys.argv[1])
detect = partial(choose_pod_cgroups, own, pod_uid=sys.argv[1])
attributor = Attributor(partial(read_cgroup, proc), None, None, detect=detect)
source = CoreSource(min_age_ns=0)
source.start()
snapshot = source.snapshot()
found = []
for place, _ in enumerate(snapshot.keys()):
    child = snapshot.child(place)
    one = attributor.attribute(child, None)
    found.append([child.cgroup.path, one.cgroup.origin, one.container and one.container.pod_uid])
source.close()
print(json.dumps(found))
"""


@kernel
def test_kernel_named_cgroup_of_a_pod_on_a_node_that_is_a_container():
    own, other, _ = LAYOUTS["kubelet.slice"]
    found = run_on_a_node_in_a_container(own, ATTRIBUTE, OWN, pod=other)
    [zombie] = [one for one in found if OTHER_ in one[0]]
    assert zombie[0].startswith("/docker/")
    assert zombie[1:] == ["kernel", OTHER]
