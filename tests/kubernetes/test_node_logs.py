"""Names from the kubelet's log folders."""

import itertools
import os

from hypothesis import given
from hypothesis import strategies as st

from tracer.clock import NS
from tracer.kubernetes.node_logs import LogNames, NodeLogs, parse_folders, parse_links
from tracer.model import Container, WorkloadSource

ID = "0123456789abcdef" * 4
UID = "b5b4bd95-5f3c-4d0a-9a3e-2f1d6c7b8a90"


def start(root, namespace, pod, uid, container, container_id):
    """Do what the kubelet does at a container's start."""
    folder = root / "var/log/pods" / f"{namespace}_{pod}_{uid}" / container
    folder.mkdir(parents=True)
    (folder / "0.log").touch()
    links = root / "var/log/containers"
    links.mkdir(parents=True, exist_ok=True)
    (links / f"{pod}_{namespace}_{container}-{container_id}.log").symlink_to(folder / "0.log")


def clock():
    seconds = itertools.count(step=2)
    return lambda: next(seconds) * NS


def test_container_by_id_pod_by_uid_and_by_config_hash(tmp_path):
    start(tmp_path, "shop", "web-7d4-x2", UID, "app-1", ID)
    start(tmp_path, "kube-system", "etcd-n1", "d" * 32, "etcd", "e" * 64)
    logs = NodeLogs(tmp_path, now_boot_ns=clock())
    found = logs.lookup(Container(ID, "containerd", UID))
    assert (found.namespace, found.pod, found.container) == ("shop", "web-7d4-x2", "app-1")
    assert (found.pod_uid, found.source) == (UID, WorkloadSource.NODE_LOGS)
    by_uid = logs.lookup(Container("9" * 64, None, UID))
    assert (by_uid.pod, by_uid.container) == ("web-7d4-x2", None)
    static = logs.lookup(Container(None, config_hash="d" * 32))
    assert (static.pod, static.pod_uid) == ("etcd-n1", None)
    assert logs.lookup(Container("7" * 64)) is None


def test_new_containers_are_found_but_folders_are_not_read_for_every_question(tmp_path):
    now = [0]
    logs = NodeLogs(tmp_path, now_boot_ns=lambda: now[0])
    container = Container(ID, None, UID)
    assert logs.lookup(container) is None
    start(tmp_path, "shop", "web", UID, "app", ID)
    now[0] = NS // 2
    assert logs.lookup(container) is None, "not more than once a second"
    now[0] = NS
    assert logs.lookup(container).container == "app"


def test_unchanged_folders_are_not_read_again(tmp_path, monkeypatch):
    start(tmp_path, "shop", "web", UID, "app", ID)
    logs = NodeLogs(tmp_path, now_boot_ns=clock())
    assert logs.lookup(Container(ID))
    monkeypatch.setattr("tracer.kubernetes.node_logs._names", lambda _folder: 1 / 0)
    assert logs.lookup(Container("9" * 64)) is None


def test_folder_that_may_not_be_read_gives_no_names(tmp_path):
    start(tmp_path, "shop", "web", UID, "app", ID)
    child = os.fork()
    if not child:
        os.chmod(tmp_path / "var/log/pods", 0o700)
        for parent in tmp_path.parents[:2]:
            os.chmod(parent, 0o755)
        os.chmod(tmp_path, 0o755)
        os.setuid(65534)
        found = NodeLogs(tmp_path).lookup(Container(ID, None, UID))
        nothing = NodeLogs(tmp_path).lookup(Container(None, None, UID))
        os._exit(0 if found and found.container == "app" and nothing is None else 1)
    assert os.waitpid(child, 0)[1] == 0


@given(st.lists(st.text(max_size=80)))
def test_any_names_are_read_without_an_error(names):
    parse_links(names)
    parse_folders(names)


name = st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,8}[a-z0-9])?", fullmatch=True)


@given(name, name, name)
def test_names_come_back_as_the_kubelet_wrote_them(pod, namespace, container):
    link = f"{pod}_{namespace}_{container}-{ID}.log"
    assert parse_links([link]) == {ID: LogNames(namespace, pod, container)}
    assert parse_folders([f"{namespace}_{pod}_{UID}"]) == {UID: LogNames(namespace, pod, uid=UID)}
