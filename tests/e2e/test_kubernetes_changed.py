"""An API server that cannot be reached, and can again: each is one line of the agent's log."""

import socket

import pytest
from support.agent import agent
from support.kube_api import KubeApi
from support.zombies import zombies

OPTIONS = ("--source", "proc", "--min-age", "300ms", "--state-dir", "none", "--node-name", "n1")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def kubeconfig(tmp_path):
    """Write a kubeconfig for a port on which nothing listens yet."""
    api = KubeApi()
    path = tmp_path / "kubeconfig"
    port = free_port()
    api.kubeconfig(path, host=f"http://127.0.0.1:{port}")
    api.close()
    return str(path), port


def kubernetes(line):
    return line["kubernetes"]


def test_down_at_the_start_then_there_then_gone(kubeconfig):
    path, port = kubeconfig
    with agent(*OPTIONS, "--kubeconfig", path) as running:
        down = running.line("kubernetes_changed")
        assert down["level"] == "warning"
        assert kubernetes(down)["up"] is False
        assert "Connection refused" in kubernetes(down)["error"]
        assert "log folders" in kubernetes(down)["fallback"]
        assert running.started()["timestamp"] <= down["timestamp"]
        assert kubernetes(down)["since"] < down["timestamp"]
        with zombies(1) as family:
            running.lines_of(family.pids)
        api = KubeApi(port=port)
        try:
            up = running.wait_for(lambda: running.events("kubernetes_changed")[1:], what="its end")
            assert up[0]["level"] == "info"
            assert kubernetes(up[0])["up"] is True
            assert kubernetes(up[0])["away_seconds"] >= 3.0
        finally:
            api.close()
        assert running.stop() == 0
        assert running.errors == ""
    assert not [line for line in running.events("agent_message") if "pods" in line["message"]][1:]


def test_an_api_server_that_refuses_is_named_with_its_remedy(tmp_path):
    api = KubeApi()
    api.list_troubles.extend([403] * 10_000)
    try:
        with agent(*OPTIONS, "--kubeconfig", api.kubeconfig(tmp_path / "kubeconfig")) as running:
            down = running.line("kubernetes_changed")
            assert "may not list pods (403)" in kubernetes(down)["error"]
            assert "grant the verbs get, list and watch" in kubernetes(down)["error"]
            assert running.stop() == 0
            assert len(running.events("kubernetes_changed")) == 1
    finally:
        api.close()


def test_a_start_that_succeeds_says_nothing(tmp_path):
    api = KubeApi()
    api.list_troubles.extend([503, 503])
    try:
        with agent(*OPTIONS, "--kubeconfig", api.kubeconfig(tmp_path / "kubeconfig")) as running:
            running.wait_for(lambda: [verb for verb, _ in api.requests][-1:] == ["watch"])
            with zombies(1) as family:
                running.lines_of(family.pids)
            assert running.stop() == 0
            assert running.events("kubernetes_changed") == []
    finally:
        api.close()
