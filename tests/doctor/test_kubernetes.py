"""doctor's question to the API server, through the real client to a server on a real socket."""

import pytest
from support.kube_api import KubeApi
from support.pods import pod

from tracer.doctor import cluster
from tracer.doctor.check import Status
from tracer.kubernetes import client

NODE = "worker-1"


@pytest.fixture
def api():
    server = KubeApi()
    yield server
    server.close()


def ask(kubeconfig, *, off=False, environment=None):
    return cluster.kubernetes(kubeconfig, NODE, off=off, environment=environment or {})


def test_who_may_list_and_watch_passes(api, tmp_path):
    api.put(pod("web"))
    check = ask(str(api.kubeconfig(tmp_path / "kubeconfig")))
    assert check.status is Status.OK, check
    assert [verb for verb, _ in api.requests] == ["list", "watch"]
    for _, query in api.requests:
        assert NODE in str(query), "only this node's pods may be asked for"


def test_a_client_that_returns_status_and_headers_too(api, tmp_path, monkeypatch):
    """Client 35 does so unless it is asked for the data only; client 36 never does here."""
    whole = client.load().ApiClient.call_api

    def call_api(self, *arguments, **options):
        response = whole(self, *arguments, **options | {"_return_http_data_only": True})
        if options.get("_return_http_data_only"):
            return response
        return response, response.status, response.headers

    monkeypatch.setattr(client.load().ApiClient, "call_api", call_api)
    check = ask(str(api.kubeconfig(tmp_path / "kubeconfig")))
    assert check.status is Status.OK, check
    assert [verb for verb, _ in api.requests] == ["list", "watch"]


@pytest.mark.parametrize(
    ("verb", "troubles"), [("list", "list_troubles"), ("watch", "watch_troubles")]
)
def test_a_verb_that_is_forbidden_is_named(api, tmp_path, verb, troubles):
    getattr(api, troubles).append(403)
    check = ask(str(api.kubeconfig(tmp_path / "kubeconfig")))
    assert (check.status, check.matters) == (Status.FAILED, True)
    assert f"may not {verb} pods (403)" in check.result
    assert verb in check.remedy


def test_a_server_that_is_not_there_is_reported(api, tmp_path):
    kubeconfig = str(api.kubeconfig(tmp_path / "kubeconfig"))
    api.close()
    check = ask(kubeconfig)
    assert check.status is Status.FAILED
    assert "cannot list pods" in check.result
    assert "firewall" in check.remedy
    assert "grant" not in check.remedy


def test_a_missing_kubeconfig_is_reported(tmp_path):
    check = ask(str(tmp_path / "nowhere"))
    assert check.status is Status.FAILED
    assert "nowhere" in check.result


def test_no_cluster_is_not_a_failure():
    assert ask(None, off=True).status is Status.SKIPPED
    check = ask(None)
    assert check.status is Status.SKIPPED
    assert "without pod names" in check.result


@pytest.mark.parametrize(
    ("failure", "remedy"),
    [
        ("may not list pods (403): forbidden", "grant get, list and watch"),
        ("does not accept the credentials (401): Unauthorized", "working credentials"),
        ("[Errno 111] Connection refused", "check that the API server runs"),
        ("Connection to 10.0.0.1 timed out", "check that the API server runs"),
        ("[Errno -2] Name or service not known", "DNS"),
        ("certificate verify failed: self-signed certificate", "certificate-authority"),
    ],
)
def test_the_remedy_is_that_of_the_failure(failure, remedy):
    assert remedy in cluster.remedy(failure)
    assert cluster.remedy(failure).endswith("--no-kubernetes")
