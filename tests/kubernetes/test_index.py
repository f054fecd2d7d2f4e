"""Pods from the API's JSON, and what the index answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pods import container_id, pod

from tracer.clock import NS
from tracer.kubernetes.index import KEEP_DELETED_NS, PodIndex
from tracer.kubernetes.pod import owner_of, parse_pod
from tracer.model import Container, Owner, Probe

HASH = "d0d9a6e6cf1d6b4b8a0b3c2d1e0f9a8b"


def index_of(*pods):
    index = PodIndex()
    for one in pods:
        index.apply(parse_pod(one))
    return index


def by_id(raw, name, run=0):
    return Container(container_id(raw["metadata"]["uid"], name, run))


@pytest.mark.parametrize("name", ["setup", "app", "sidecar", "debugger"])
def test_every_kind_of_container_is_found_by_its_id(name):
    raw = pod("web", containers=("app", "sidecar"), init=("setup",), ephemeral=("debugger",))
    found = index_of(raw).lookup(by_id(raw, name))
    assert (found.namespace, found.pod, found.container) == ("example", "web", name)
    assert found.pod_uid == raw["metadata"]["uid"]
    assert found.image == f"registry.example/{name}:1"
    assert found.restart_count == 0
    assert dict(found.labels) == {"app": "web"}


def test_the_run_before_a_restart_is_found_and_so_are_those_seen_earlier():
    index = index_of(*(pod("web", run=run) for run in range(4)))
    raw = pod("web")
    for run in range(4):
        assert index.lookup(by_id(raw, "app", run)).container == "app"
    assert index_of(pod("web", run=3)).lookup(by_id(raw, "app", 2)).restart_count == 3
    assert index_of(pod("web", run=3)).lookup(by_id(raw, "app", 1)) is None


def test_ids_of_a_crash_loop_do_not_grow_without_bound():
    index = index_of(*(pod("web", run=run) for run in range(500)))
    assert len(index._uid_by_container) == 64
    assert index.lookup(by_id(pod("web"), "app", 499))
    assert index.lookup(by_id(pod("web"), "app", 1)) is None


def test_pod_uid_is_enough_for_the_pod_but_names_no_container():
    raw = pod("web", running=False)
    found = index_of(raw).lookup(Container("9" * 64, pod_uid=raw["metadata"]["uid"]))
    assert (found.pod, found.container, found.image) == ("web", None, None)


def test_container_id_counts_more_than_pod_uid():
    one, other = pod("one"), pod("other")
    found = index_of(one, other).lookup(
        Container(by_id(one, "app").id, pod_uid=other["metadata"]["uid"])
    )
    assert found.pod == "one"


@pytest.mark.parametrize("annotation", ["kubernetes.io/config.mirror", "kubernetes.io/config.hash"])
def test_static_pod_is_found_by_its_config_hash(annotation):
    raw = pod("kube-proxy-worker-1", owner=("Node", "worker-1"), annotations={annotation: HASH})
    index = index_of(raw)
    assert index.lookup(Container(None, config_hash=HASH)).pod == "kube-proxy-worker-1"
    assert index.lookup(Container(None, config_hash="0" * 32)) is None


def test_a_tenants_pod_cannot_take_a_static_pods_hash_over():
    real = pod("real", annotations={"kubernetes.io/config.mirror": HASH})
    fake = pod("fake", annotations={"kubernetes.io/config.hash": HASH})
    index = index_of(real, fake)
    assert index.lookup(Container(None, config_hash=HASH)).pod == "real"
    index.delete(real["metadata"]["uid"], 0)
    index.apply(parse_pod(pod("again", annotations={"kubernetes.io/config.mirror": HASH})))
    index.expire(KEEP_DELETED_NS)
    assert index.lookup(Container(None, config_hash=HASH)).pod == "again"


def test_deleted_pods_are_known_for_ten_minutes():
    assert KEEP_DELETED_NS == 600 * NS
    raw = pod("web", annotations={"kubernetes.io/config.mirror": HASH})
    index = index_of(raw)
    index.delete(raw["metadata"]["uid"], 5 * NS)
    index.delete(raw["metadata"]["uid"], 500 * NS)  # a second word of it changes nothing
    index.expire(604 * NS)
    assert index.lookup(by_id(raw, "app")).pod == "web"
    index.expire(605 * NS)
    assert index.lookup(by_id(raw, "app")) is None
    assert index.lookup(Container(None, config_hash=HASH)) is None
    assert len(index) == len(index._uid_by_container) == len(index._uid_by_hash) == 0


def test_retain_marks_what_a_list_did_not_show():
    one, other = pod("one"), pod("other")
    index = index_of(one, other)
    index.retain([one["metadata"]["uid"]], 0)
    index.expire(KEEP_DELETED_NS)
    assert index.lookup(by_id(one, "app"))
    assert index.lookup(by_id(other, "app")) is None


def test_runtime_comes_from_the_status():
    raw = pod("web")
    assert (
        index_of(raw).runtime(Container("1" * 64, pod_uid=raw["metadata"]["uid"])) == "containerd"
    )
    assert index_of(pod("web", running=False)).runtime(by_id(raw, "app")) is None


@pytest.mark.parametrize(
    ("kind", "name", "labels", "owner"),
    [
        ("ReplicaSet", "web-7d4b9c8f6", {"pod-template-hash": "7d4b9c8f6"}, ("Deployment", "web")),
        ("ReplicaSet", "web-7d4b9c8f6", {}, ("ReplicaSet", "web-7d4b9c8f6")),
        ("ReplicaSet", "web", {"pod-template-hash": "7d4b9c8f6"}, ("ReplicaSet", "web")),
        ("ReplicaSet", "web-", {"pod-template-hash": ""}, ("ReplicaSet", "web-")),
        ("ReplicaSet", "web-5f", {"rollouts-pod-template-hash": "5f"}, ("Rollout", "web")),
        ("Job", "backup-29384720", {}, ("CronJob", "backup")),
        ("Job", "nightly-job-28912345", {}, ("CronJob", "nightly-job")),
        ("Job", "backup-1732269600", {}, ("CronJob", "backup")),
        ("Job", "migrate-2", {}, ("Job", "migrate-2")),
        ("Job", "report-20261122", {}, ("Job", "report-20261122")),
        ("Job", "29384720", {}, ("Job", "29384720")),
        ("StatefulSet", "db", {}, ("StatefulSet", "db")),
        ("DaemonSet", "agent", {}, ("DaemonSet", "agent")),
        ("Workflow", "pipeline", {}, ("Workflow", "pipeline")),
        ("Node", "worker-1", {}, ("Node", "worker-1")),
    ],
)
def test_owners_without_asking_the_api(kind, name, labels, owner):
    assert owner_of(Owner(kind, name), labels) == Owner(*owner)
    assert parse_pod(pod("p", owner=(kind, name), labels=labels)).owner == Owner(*owner)


@pytest.mark.parametrize(
    ("kind", "name", "labels", "owner"),
    [
        ("ReplicaSet", "web-7d4b9c8f6", {"pod-template-hash": "7d4b9c8f6"}, ("Deployment", "web")),
        ("Job", "backup-29384720", {}, ("CronJob", "backup")),
        ("Job", "migrate", {}, ("Job", "migrate")),
    ],
)
def test_the_controller_between_pod_and_owner_is_known_too(kind, name, labels, owner):
    raw = pod("p", owner=(kind, name), labels=labels)
    workload = index_of(raw).lookup(Container(None, pod_uid=raw["metadata"]["uid"]))
    assert (workload.owner, workload.controller) == (Owner(*owner), Owner(kind, name))


def test_bare_pod_has_no_owner_and_the_controller_counts_among_several():
    assert parse_pod(pod("bare")).owner is None
    raw = pod("p", owner=("StatefulSet", "db"))
    raw["metadata"]["ownerReferences"].insert(0, {"kind": "Widget", "name": "w"})
    assert parse_pod(raw).owner == Owner("StatefulSet", "db")


def test_facts_that_a_diagnosis_needs():
    found = index_of(raw := pod("web", shareProcessNamespace=True, hostPID=True)).lookup(
        by_id(pod("web"), "app")
    )
    assert raw
    assert found.share_process_namespace
    assert found.host_pid
    assert found.command_replaced
    assert found.probes == (
        Probe("liveness", ("/bin/sh", "-c", "probe"), 10, 1),
        Probe("preStop", ("/bin/sleep", "5"), None, None),
    )


def test_image_without_a_name_in_the_status_is_taken_from_the_spec():
    raw = pod("web")
    raw["status"]["containerStatuses"][0]["image"] = "sha256:" + "0" * 64
    assert index_of(raw).lookup(by_id(raw, "app")).image == "registry.example/app:1"


json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(st.data())
def test_a_pod_with_any_field_of_a_wrong_type_is_read_or_refused(data):
    raw = pod("web", init=("setup",), owner=("Job", "j"))
    place = raw
    for _ in range(data.draw(st.integers(0, 6))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(json_value)
        break
    try:
        parsed = parse_pod(raw)
    except ValueError:
        return
    index = PodIndex()
    index.apply(parsed)
    index.lookup(Container(None, pod_uid=parsed.uid))


@given(json_value)
def test_what_is_no_pod_is_refused(raw):
    with pytest.raises(ValueError, match="not a pod"):
        parse_pod(raw)
