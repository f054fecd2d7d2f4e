"""`tracer scan` on real zombies: beside ps, in each of its forms, and with what an agent knows."""

import contextlib
import json
import os
import re
import signal
import subprocess

import pytest
from support import cgroups
from support.agent import agent, tracer
from support.kube_api import KubeApi
from support.pods import container_id, pod
from support.schema import check_scan
from support.zombies import wait_until, zombies

pytestmark = pytest.mark.kernel

QUIET = ("--no-kubernetes", "--state-dir", "none")
MANY = 2_000


@pytest.fixture(scope="module")
def few():
    """A parent with three zombies."""
    with zombies(3, status=-signal.SIGKILL) as family:
        yield family


@pytest.fixture(scope="class")
def many():
    """A parent with a crowd of them."""
    with zombies(MANY, comm="crowd") as family:
        yield family


def scan(*arguments, status=0, options=QUIET, **more):
    """Run a scan that must go well, and return what it printed."""
    done = tracer("scan", *arguments, *options, **more)
    assert (done.returncode, done.stderr) == (status, ""), done.stderr
    return done.stdout


def documents(*arguments, **more):
    """Return what a scan prints as JSON."""
    return json.loads(scan("-o", "json", *arguments, **more))


def of(found, *parents):
    """Return the documents of these parents' zombies, by pid."""
    pids = {parent.parent_pid for parent in parents}
    return {one["process"]["pid"]: one for one in found if one["parent"]["pid"] in pids}


def rows(text):
    """Return the table's rows as lists of cells, its heading first."""
    return [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]


class TestCrowd:
    """Two thousand zombies of one parent."""

    @pytest.mark.parametrize("source", ["core", "proc"])
    def test_the_same_pids_as_ps(self, many, few, source):
        found = of(documents("--source", source), many, few)
        listed = subprocess.run(
            ["ps", "-eo", "pid=,ppid=,state="], capture_output=True, text=True, check=True
        )
        lines = [line.split() for line in listed.stdout.splitlines()]
        parents = {str(many.parent_pid), str(few.parent_pid)}
        assert found.keys() == {int(pid) for pid, ppid, s in lines if ppid in parents and s == "Z"}
        assert len(found) == MANY + 3
        assert found[many.pids[0]]["zombie"]["siblings"] == MANY - 1
        assert found[many.pids[0]]["process"]["executable"]["name"] == "crowd"

    def test_by_parent(self, many, few):
        heading, *table = rows(scan("--by", "parent"))
        assert heading[:3] == ["PARENT", "NAME", "ZOMBIES"]
        found = {int(row[0]): int(row[2]) for row in table}
        assert found[many.parent_pid] == MANY
        assert found[few.parent_pid] == 3
        counts = list(found.values())
        assert counts == sorted(counts, reverse=True), "the worst first"

    def test_by_pod_counts_every_parent(self, many, few):
        heading, *table = rows(scan("--by", "pod"))
        zombies_at, parents_at = heading.index("ZOMBIES"), heading.index("PARENTS")
        assert sum(int(row[zombies_at]) for row in table) >= MANY + 3
        assert sum(int(row[parents_at]) for row in table) >= 2


UIDS = {
    "web-1": "11111111-aaaa-4bbb-8ccc-dddddddddddd",
    "web-2": "22222222-aaaa-4bbb-8ccc-dddddddddddd",
}
COUNTS = {"web-1": 2, "web-2": 3}


def pod_cgroup(name):
    """Return the path of a pod's container as the kubelet's systemd driver and containerd do."""
    uid = UIDS[name]
    pod_slice = f"kubepods-besteffort-pod{uid.replace('-', '_')}.slice"
    scope = f"cri-containerd-{container_id(uid, 'app', 0)}.scope"
    return f"/kubepods.slice/kubepods-besteffort.slice/{pod_slice}/{scope}"


@pytest.fixture(scope="class")
def family():
    mount = cgroups.unified()
    with contextlib.ExitStack() as stack:
        folders = {
            name: stack.enter_context(cgroups.cgroup(mount, pod_cgroup(name))) for name in UIDS
        }
        family = stack.enter_context(zombies(0))
        for name, folder in folders.items():
            # The parent moves on; zombies stay in the cgroup in which they died.
            (folder / "cgroup.procs").write_text(str(family.parent_pid))
            family.spawn(COUNTS[name])
        (mount / "cgroup.procs").write_text(str(family.parent_pid))
        yield family


@pytest.fixture(scope="class")
def options(tmp_path_factory):
    """Name the pods by a real API server."""
    api = KubeApi()
    for name, uid in UIDS.items():
        api.put(pod(name, uid=uid, namespace="shop"))
    path = tmp_path_factory.mktemp("api") / "kubeconfig"
    yield (
        "--kubeconfig",
        api.kubeconfig(path),
        "--node-name",
        "worker-1",
        "--log-level",
        "warning",
        *QUIET[1:],
    )
    api.close()


class TestTwoPods:
    """One parent, outside both pods, with zombies in each: pods share the host's PID namespace."""

    @pytest.fixture(params=["core", "proc"])
    def scan_pods(self, request, options):
        return lambda *words: scan(*words, "--source", request.param, options=options)

    @pytest.mark.parametrize("filters", [(), ("-n", "shop"), ("--pods-only",)])
    def test_by_pod_counts_each_zombie_where_it_died(self, scan_pods, family, filters):
        heading, *table = rows(scan_pods("--by", "pod", *filters))
        pods = {row[1]: dict(zip(heading, row, strict=False)) for row in table}
        for name, count in COUNTS.items():
            assert pods[name]["NAMESPACE"] == "shop"
            assert int(pods[name]["ZOMBIES"]) == count
            assert int(pods[name]["PARENTS"]) == 1

    @pytest.mark.parametrize("by", ["pod", "parent"])
    def test_a_filter_by_pod_counts_only_its_zombies(self, scan_pods, family, by):
        heading, *table = rows(scan_pods("--by", by, "--pod", "web-2"))
        zombies_at = heading.index("ZOMBIES")
        assert [int(row[zombies_at]) for row in table] == [COUNTS["web-2"]]

    def test_pods_only_leaves_out_the_parents_other_zombies(self, scan_pods, family):
        outside = family.spawn(4)
        heading, *table = rows(scan_pods("--by", "parent", "--pods-only"))
        [row] = [row for row in table if int(row[0]) == family.parent_pid]
        assert int(row[heading.index("ZOMBIES")]) == sum(COUNTS.values())
        assert len(outside) == 4

    def test_by_parent_still_counts_all(self, scan_pods, family):
        heading, *table = rows(scan_pods("--by", "parent"))
        [row] = [row for row in table if int(row[0]) == family.parent_pid]
        assert int(row[heading.index("ZOMBIES")]) == len(family.pids)

    def test_one_by_one_agrees(self, scan_pods, family):
        found = json.loads(scan_pods("-o", "json", "-n", "shop"))
        counts = {}
        for one in found:
            name = one["k8s"]["pod"]["name"]
            counts[name] = counts.get(name, 0) + 1
        assert counts == COUNTS

    def test_json_by_pod_has_a_row_for_each_pod(self, scan_pods, family):
        found = json.loads(scan_pods("-o", "json", "--by", "pod", "--pods-only"))
        rows_of = {one["k8s"]["pod"]["name"]: one for one in found}
        assert rows_of.keys() == COUNTS.keys()
        for name, one in rows_of.items():
            assert one["row"]["by"] == "pod"
            assert one["row"]["zombies"] == COUNTS[name]
            assert one["row"]["parents"] == 1
            assert one["row"]["oldest_age_seconds"] >= 0
            assert one["row"]["causes"] == [one["cause"]["code"]]
            assert one["k8s"]["node"]["name"] == "worker-1"
            assert not {"process", "zombie", "parent"} & one.keys(), "those are of one zombie"


def test_json_by_parent_has_a_row_for_each_parent(few):
    [one] = [row for row in documents("--by", "parent") if row["parent"]["pid"] == few.parent_pid]
    assert one["row"]["by"] == "parent"
    assert (one["row"]["zombies"], one["row"]["parents"]) == (3, 1)
    assert one["row"]["kernel_bytes"] > 0
    assert "process" not in one
    by_zombie = documents("--by", "zombie")
    assert of(by_zombie, few).keys() == of(documents(), few).keys() == set(few.pids)


def test_json_is_the_contract_s(few):
    found = of(documents(), few)
    assert found.keys() == set(few.pids)
    check_scan(list(found.values()))
    for one in found.values():
        assert one["process"]["exit"]["signal"] == "SIGKILL"
        assert one["zombie"]["siblings"] == 2
        # Its exit was not seen; the kernel shows when it last ran, which bounds its age.
        assert one["process"]["exit"]["time"] is None
        assert one["process"]["exit"]["time_known"] is False


def test_an_array_even_of_nothing():
    assert documents("--min-age", "1000d") == []


def test_by_zombie(few):
    heading, *table = rows(scan("--by", "zombie"))
    assert heading[:2] == ["PID", "NAME"]
    listed = [int(row[0]) for row in table]
    assert set(few.pids) <= set(listed)
    assert len(listed) == len(set(listed))
    assert any("SIGKILL" in row for row in table if int(row[0]) in few.pids)


def test_wide_has_more_columns(few):
    narrow, wide = scan("--by", "parent"), scan("--by", "parent", "-o", "wide")
    assert len(rows(wide)[0]) > len(rows(narrow)[0])
    [row] = [line for line in wide.splitlines() if line.split()[0] == str(few.parent_pid)]
    assert os.path.realpath("/proc/self/exe") in row


def test_exit_code(few):
    scan("--exit-code", status=1)
    assert tracer("scan", "--exit-code", "--min-age", "1000d", *QUIET).returncode == 0
    assert tracer("scan", "--exit-code", "--namespace", "nowhere", *QUIET).returncode == 0


def test_min_age(few):
    """Where no exit was seen, the time at which they last ran says how old they are."""
    assert of(documents("--min-age", "1h"), few) == {}
    wait_until(lambda: of(documents("--min-age", "2s"), few).keys() == set(few.pids), timeout=60)
    with zombies(1) as young:
        [young_pid] = young.pids
        found = of(documents("--min-age", "2s"), young)
        age = of(documents(), young)[young_pid]["zombie"]["age_seconds"]
        assert not found or age > 2


def test_filters(few):
    """None of these is in a pod."""
    for options in (("--pods-only",), ("-n", "shop"), ("--pod", "web-1"), ("-l", "app=web")):
        assert of(documents(*options), few) == {}


@pytest.mark.parametrize("source", ["core", "proc"])
def test_it_knows_what_the_agent_saw(tmp_path, source):
    """Exit times, which /proc does not show, come from the agent's state folder."""
    state = ("--no-kubernetes", "--state-dir", tmp_path / "state")
    with agent("--min-age", "200ms", *state) as running, zombies(3) as family:
        lines = running.lines_of(family.pids)
        found = {}

        def all_known():
            found.update(of(documents("--source", source, options=state), family))
            return all(one["process"]["exit"]["time_known"] for one in found.values())

        wait_until(all_known, timeout=30, what="times of death")
        for pid, line in lines.items():
            assert (
                found[pid]["process"]["exit"]["time"][:22] == line["process"]["exit"]["time"][:22]
            )
            assert found[pid]["forker"] == line["forker"]
        before = sorted(os.listdir(tmp_path / "state"))
        documents(options=state)
        assert sorted(os.listdir(tmp_path / "state")) == before
        assert running.stop() == 0


@pytest.mark.kernel
def test_a_pod_is_named_however_many_zombies_are_elsewhere(options):
    """The API server is asked for its name although a thousand others come first."""
    mount = cgroups.unified()
    where = cgroups.cgroup(mount, pod_cgroup("web-1"))
    with zombies(1001), where as folder, zombies(0) as family:
        (folder / "cgroup.procs").write_text(str(family.parent_pid))
        [pid] = family.spawn(1)
        (mount / "cgroup.procs").write_text(str(family.parent_pid))
        found = json.loads(scan("-o", "json", "-n", "shop", "--source", "core", options=options))
    assert [(one["process"]["pid"], one["k8s"]["pod"]["name"]) for one in found] == [(pid, "web-1")]
