"""Resident memory of the agent in its configurations."""

import os
import sys
import tempfile
from pathlib import Path

import agent
from figures import MISSING, within
from machine import rss_mb, rss_text, wait_until
from work import zombies

PODS = 250
TESTS = Path(__file__).resolve().parent.parent / "tests"


def measure(scale):  # noqa: ARG001 - one size fits all
    with zombies(5) as parent:
        del parent
        return [_core(), _watching(), _bcc()]


def _settled(one):
    """Return megabytes after the first detections: by then everything that it uses is loaded."""
    one.wait_for(lambda line: line["event"] == "zombie_detected", 15)
    return rss_mb(one.pid)[0]


def _core():
    beside = []
    for name, tool in (("exitsnoop", agent.exitsnoop), ("bpftrace", agent.bpftrace)):
        with tool() as process:
            beside.append(f"{name} {MISSING if process is None else rss_text(process.pid)}")
    with agent.agent("--source", "core") as one:
        return within("RSS, core without Kubernetes", _settled(one), "MB", 35, ", ".join(beside), 1)


def _watching():
    sys.path.insert(0, os.fspath(TESTS))
    from support.kube_api import KubeApi
    from support.pods import pod

    api = KubeApi()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PODS):
            name = f"web-{number:04}-7d4b9c"
            owner = ("ReplicaSet", name)
            api.put(pod(f"{name}-x2x9z", containers=("app", "sidecar"), owner=owner))
        arguments = ["--kubeconfig", os.fspath(api.kubeconfig(Path(folder) / "config"))]
        arguments += ["--node-name", "worker-1", "--source", "core"]
        try:
            with agent.agent(*arguments, kubernetes=True) as one:
                wait_until(lambda: "watch" in {r[0] for r in api.requests}, 15, "the watch")
                return within(
                    f"RSS, core with a watch of {PODS} pods", _settled(one), "MB", 60, digits=1
                )
        finally:
            api.close()


def _bcc():
    with agent.agent("--source", "bcc") as one:
        return within("RSS, bcc", _settled(one), "MB", 160, digits=1)
