"""The watch through the real kubernetes client against a server on a real socket."""

import itertools
import logging
import os
import subprocess
import sys
import threading

import pytest
from support.kube_api import KubeApi
from support.pods import container_id, pod
from support.zombies import wait_until as until

from tracer.errors import UsageError
from tracer.kubernetes.config import connect
from tracer.kubernetes.index import KEEP_DELETED_NS, PodIndex
from tracer.kubernetes.watch import PodWatch, Timing
from tracer.model import Container

NODE = "worker-1"
QUICK = Timing(connect=5, read=0.8, listing=5, watching=30, backoff_first=0.01, backoff_most=0.05)
WEB = pod("web-7d4b9c-x2x9z", containers=("app", "sidecar"))
APP = Container(container_id(WEB["metadata"]["uid"], "app", 0), "containerd")
LATER = pod("later")
LATER_POD = Container(None, pod_uid=LATER["metadata"]["uid"])


@pytest.fixture
def api():
    server = KubeApi()
    yield server
    server.close()


@pytest.fixture
def watching(tmp_path):
    """Start watches that are stopped at the end of the test."""
    begun = []

    def begin(api, *, timing=QUICK, access=None, index=None):
        index = index or PodIndex()
        access = access or connect(api.kubeconfig(tmp_path / "kubeconfig")).access
        watch = PodWatch(access, NODE, index, timing=timing)
        begun.append(watch)
        watch.start()
        return watch, index

    yield begin
    for watch in begun:
        watch.stop()


def verbs(api):
    return [verb for verb, _ in api.requests]


def test_list_then_watch_of_this_node_only(api, watching):
    api.put(WEB)
    api.put(pod("elsewhere", node="worker-2"))
    watch, index = watching(api)
    until(lambda: watch.synced and "watch" in verbs(api))
    found = index.lookup(APP)
    assert (found.namespace, found.pod, found.container) == (
        "example",
        WEB["metadata"]["name"],
        "app",
    )
    assert len(index) == 1
    for _, query in api.requests:
        assert query["fieldSelector"] == f"spec.nodeName={NODE}"
    (listed, watched) = (query for _, query in api.requests)
    assert listed["resourceVersion"] == "0"
    assert watched["allowWatchBookmarks"] == "true"
    assert watched["resourceVersion"] == "1002"
    assert watch.up
    assert watch.last_error is None


def test_pages_are_followed(api, watching):
    api.page = 3
    pods = [pod(f"p{number}") for number in range(10)]
    for one in pods:
        api.put(one)
    watch, index = watching(api)
    until(lambda: watch.synced)
    assert len(index) == 10
    assert verbs(api).count("list") == 4


def test_changes_arrive(api, watching):
    _watch, index = watching(api)
    until(lambda: "watch" in verbs(api))
    api.put(pod("later", running=False))
    until(lambda: index.lookup(LATER_POD))
    app = Container(container_id(LATER["metadata"]["uid"], "app", 0))
    assert index.lookup(app) is None
    api.put(LATER)
    assert until(lambda: index.lookup(app)).container == "app"
    api.delete(LATER)
    api.put(WEB)
    until(lambda: index.lookup(APP))
    assert index.lookup(app).pod == "later", "a deleted pod stays known"
    index.expire(10**18 + KEEP_DELETED_NS)
    assert index.lookup(app) is None
    assert index.lookup(APP) is not None


def test_deletions_missed_while_away_are_noticed_by_the_next_list(api, watching):
    api.put(WEB)
    watch, index = watching(api)
    until(lambda: "watch" in verbs(api))
    api.watch_troubles.append(503)
    api.cut()
    until(lambda: not watch.up)
    api.delete(WEB)
    api.compact()
    until(lambda: verbs(api).count("list") == 2 and watch.up)
    assert index.lookup(APP) is not None
    index.expire(10**18 + KEEP_DELETED_NS)
    assert len(index) == 0


def test_bookmarks_move_the_version_so_that_a_compaction_is_no_trouble(api, watching):
    api.put(WEB)
    watch, _ = watching(api)
    until(lambda: "watch" in verbs(api))
    api.bookmark()
    until(lambda: watch._version == "1002")
    api.cut()
    until(lambda: verbs(api).count("watch") == 2)
    assert api.requests[-1][1]["resourceVersion"] == "1002"
    assert verbs(api).count("list") == 1


def test_a_version_that_is_too_old_is_listed_anew(api, watching, caplog):
    api.put(WEB)
    watch, index = watching(api)
    until(lambda: "watch" in verbs(api))
    api.compact()
    api.cut()
    until(lambda: verbs(api).count("list") == 2)
    api.put(LATER)
    until(lambda: index.lookup(LATER_POD))
    assert watch.up
    assert "410" in watch.last_error
    assert [query.get("resourceVersion", "") for verb, query in api.requests if verb == "list"] == [
        "0",
        "",
    ]


def test_gone_as_an_http_status(api, watching):
    api.watch_troubles.append(410)
    watch, _ = watching(api)
    until(lambda: verbs(api).count("list") == 2 and watch.up)


@pytest.mark.parametrize(
    "trouble", ["half", "half_chunk", "garbage", "odd", "end", "silent", 500, 429]
)
def test_watch_survives(api, watching, trouble):
    api.put(WEB)
    api.watch_troubles.append(trouble)
    watch, index = watching(api)
    until(lambda: verbs(api).count("watch") >= 2, what=trouble)
    api.put(LATER)
    until(lambda: index.lookup(LATER_POD))
    assert watch.up
    assert index.lookup(APP)


@pytest.mark.parametrize("trouble", ["half", "cut_clean", "garbage", "null", "hang", 500, 403, 429])
def test_list_survives(api, watching, trouble):
    api.put(WEB)
    api.list_troubles.append(trouble)
    watch, index = watching(api)
    until(lambda: watch.synced, what=trouble)
    assert index.lookup(APP)
    assert watch.last_error
    assert watch.reconnects >= 1


def test_slow_list_is_read_in_pieces(api, watching):
    for number in range(20):
        api.put(pod(f"p{number}"))
    api.list_troubles.append("slow")
    watch, index = watching(api)
    until(lambda: watch.synced)
    assert len(index) == 20
    assert watch.last_error is None


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_forbidden_names_verb_resource_and_remedy(api, watching, verb, caplog):
    caplog.set_level(logging.INFO)
    (api.list_troubles if verb == "list" else api.watch_troubles).extend([403] * 10_000)
    watch, index = watching(api)
    message = until(lambda: watch.last_error)
    assert f"cannot {verb} resource" in message
    assert f"may not {verb} pods (403)" in message
    assert "grant the verbs get, list and watch on the resource pods" in message
    assert "\n" not in message
    until(lambda: watch.reconnects > 5)
    assert not watch.up
    assert not index.expecting
    logged = [record for record in caplog.records if "(403)" in record.getMessage()]
    assert logged == [], "the agent reports it, with kubernetes_changed"


def test_token_rotated_on_disk_is_read_again(api, watching, tmp_path):
    api.put(WEB)
    api.token = "old"
    file = tmp_path / "rotating"
    api.kubeconfig(file, token="old")
    watch, index = watching(api, access=connect(str(file)).access)
    until(lambda: "watch" in verbs(api))
    api.token = "new"
    api.cut()
    until(lambda: not watch.up and "401" in watch.last_error)
    api.kubeconfig(file, token="new")
    until(lambda: watch.up)
    api.put(LATER)
    until(lambda: index.lookup(LATER_POD))


def test_server_that_comes_up_later(watching, tmp_path):
    first = KubeApi()
    first.close()
    watch, index = watching(first)
    until(lambda: watch.reconnects > 3)
    assert not watch.up
    assert not watch.synced
    assert not index.expecting
    assert "list pods through" in watch.last_error
    second = KubeApi(port=first.port)
    try:
        second.put(WEB)
        until(lambda: watch.up and index.lookup(APP))
        assert index.expecting
    finally:
        second.close()


def test_backoff_grows_is_bounded_and_jittered():
    class Failing:
        origin = "nowhere"

        def load(self):
            raise OSError("no way")

    waits = []
    jitters = itertools.cycle([0.0, 1.0])
    watch = PodWatch(Failing(), NODE, PodIndex(), jitter=lambda: next(jitters))
    stopping = watch._stopping

    class Recorder:
        def is_set(self):
            return len(waits) >= 12

        def wait(self, seconds):
            waits.append(seconds)

        def set(self):
            stopping.set()

    watch._stopping = Recorder()
    watch._run()
    assert waits == [0.25, 1.0, 1.0, 4.0, 4.0, 16.0, 15.0, 30.0, 15.0, 30.0, 15.0, 30.0]


def test_recreated_pod_of_the_same_name_is_another_pod(api, watching):
    api.put(WEB)
    _watch, index = watching(api)
    until(lambda: "watch" in verbs(api))
    again = pod(WEB["metadata"]["name"], uid="11111111-2222-3333-4444-555555555555")
    api.delete(WEB)
    api.put(again)
    new = Container(container_id(again["metadata"]["uid"], "app", 0))
    until(lambda: index.lookup(new))
    assert index.lookup(new).pod_uid == again["metadata"]["uid"]
    assert index.lookup(APP).pod_uid == WEB["metadata"]["uid"]


def test_stopping_does_not_wait_for_a_silent_server(api, watching):
    api.watch_troubles.append("silent")
    watch, _ = watching(api, timing=Timing())
    until(lambda: "watch" in verbs(api))
    if not hasattr(watch._response, "shutdown"):
        pytest.skip("urllib3 before 2.3 cannot interrupt a read; the thread is a daemon")
    watch.stop(timeout_seconds=10)
    assert not watch._thread.is_alive()


def certificate(folder):
    """Make a certificate for the loopback address: (file with key, certificate alone)."""
    key, crt, both = folder / "key.pem", folder / "ca.crt", folder / "both.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=api",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            str(key),
            "-out",
            str(crt),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(key.read_text() + crt.read_text())
    return both, crt


def test_in_cluster_over_tls_with_a_rotated_token(watching, tmp_path):
    account = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount"
    account.mkdir(parents=True)
    both, _ = certificate(account)
    api = KubeApi(tls=both)
    try:
        api.put(WEB)
        api.token = "one"
        (account / "token").write_text("one")
        environment = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api.port),
        }
        choice = connect(None, environment=environment, root=tmp_path)
        assert choice.access.origin == "in-cluster"
        watch, index = watching(api, access=choice.access)
        until(lambda: index.lookup(APP))
        api.token = "two"
        api.cut()
        until(lambda: not watch.up and "401" in watch.last_error)
        (account / "token").write_text("two")
        until(lambda: watch.up)
    finally:
        api.close()


def test_a_certificate_that_is_not_trusted_is_said_so(watching, tmp_path):
    both, _ = certificate(tmp_path)
    api = KubeApi(tls=both)
    try:
        file = api.kubeconfig(tmp_path / "config", host=f"https://127.0.0.1:{api.port}")
        watch, _ = watching(api, access=connect(file).access)
        message = until(lambda: watch.last_error)
        assert "certificate verify failed" in message.lower(), message
    finally:
        api.close()


def test_order_of_the_ways_to_the_server(tmp_path):
    def choose(**environment):
        return connect(None, environment=environment, root=tmp_path)

    nothing = choose()
    assert nothing.access is None
    assert "no kubeconfig can be read" in nothing.reason
    conf = tmp_path / "etc/kubernetes/kubelet.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text("{}")
    assert choose().reason == "the kubelet's own /etc/kubernetes/kubelet.conf"
    own = tmp_path / "var/lib/kubelet/kubeconfig"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert choose().access.origin == str(own)
    mine = tmp_path / "mine"
    mine.write_text("clusters: [{name: a}]")
    assert choose(KUBECONFIG=f"/nowhere:{mine}").access.origin == str(mine)
    assert choose(KUBECONFIG="/nowhere").access.origin == str(own)
    account = tmp_path / "var/run/secrets/kubernetes.io/serviceaccount"
    account.mkdir(parents=True)
    (account / "token").write_text("x")
    assert (
        choose(KUBECONFIG=str(mine), KUBERNETES_SERVICE_HOST="10.0.0.1").access.origin
        == "in-cluster"
    )
    assert connect(
        str(mine), environment={"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, root=tmp_path
    ).access.origin == str(mine)


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\xff\xfe",
        b"a: [",
        b"{}",
        b"just text",
        b"clusters: [{name: c}]\nusers: 7",
        b"clusters: {name: c}",
        b"clusters: [c]",
        b"clusters: [{name: " + b"9" * 5000 + b"}]",
        b"clusters: [{name: 2026-13-45}]",
    ],
)
def test_a_wrong_kubeconfig_option_is_a_usage_error_with_a_remedy(tmp_path, content):
    file = tmp_path / "config"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(
        UsageError, match=r"--kubeconfig .*; set --kubeconfig to a kubeconfig file"
    ) as caught:
        connect(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_kubeconfig_that_is_no_file_is_refused_and_blocks_nobody(tmp_path, make):
    make(tmp_path / "config")
    with pytest.raises(UsageError, match="cannot read --kubeconfig"):
        connect(str(tmp_path / "config"))


def test_importing_the_watch_does_not_import_the_client():
    code = "import sys, tracer.kubernetes.watch, tracer.attribution.attributor; assert 'kubernetes' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_the_index_while_it_is_written(api, watching):
    """The engine's lookups and the watch's changes go on at the same time."""
    _watch, index = watching(api)
    until(lambda: "watch" in verbs(api))
    stop = threading.Event()
    failures = []

    def read():
        while not stop.is_set():
            try:
                index.lookup(APP)
                index.lookup(LATER_POD)
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        api.put(pod(f"p{number}"))
    until(lambda: len(index) == 60)
    stop.set()
    reader.join()
    assert not failures
