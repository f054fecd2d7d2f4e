"""`kubectl apply`, the real one, to an API server that notes what is written."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.apply_api import KINDS, OPENSHIFT, ApplyApi

REPO = Path(__file__).parents[2]
INSTALL = (REPO / "docs/install.md").read_text(encoding="utf-8")
KUBECTL = """#!/bin/sh
exec {kubectl} --kubeconfig={folder}/config --cache-dir={folder}/cache "$@" {options}
"""


@pytest.fixture
def cluster(tmp_path):
    """Return what makes a cluster with these kinds, and a shell command's result there."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    servers = []

    def start(kinds):
        api = ApplyApi(kinds)
        servers.append(api)
        api.kubeconfig(tmp_path / "config")
        # The API server here has no schemas to validate with.
        text = KUBECTL.format(kubectl=kubectl, folder=tmp_path, options="--validate=false")
        (tmp_path / "kubectl").write_text(text)
        (tmp_path / "kubectl").chmod(0o755)

        def run(command):
            return subprocess.run(
                ["sh", "-c", command],
                cwd=REPO,
                env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
                capture_output=True,
                text=True,
                check=False,
            )

        return api, run

    yield start
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    "folder", ["deploy/", "deploy/overlays/bcc", "deploy/overlays/openshift", "deploy/examples"]
)
def test_a_second_apply_changes_nothing(cluster, folder):
    """A field that the API server does not store would differ every time."""
    api, run = cluster(KINDS | OPENSHIFT)
    first = run(f"kubectl apply -k {folder}")
    assert first.returncode == 0, first.stderr
    assert len(api.written) > 5
    api.written.clear()
    second = run(f"kubectl apply -k {folder}")
    assert second.returncode == 0, second.stderr
    assert api.written == []
    assert "configured" not in second.stdout


def openshift_command():
    (line,) = re.findall(r"^kubectl apply .*overlays/openshift.*$", INSTALL, re.MULTILINE)
    return line


def test_the_openshift_overlay_is_not_applied_in_part_to_another_cluster(cluster):
    api, run = cluster(KINDS)
    done = run(openshift_command())
    assert done.returncode != 0
    assert 'no matches for kind "SecurityContextConstraints"' in done.stderr
    assert api.written == []


def test_on_openshift_the_constraints_are_there_before_the_pods(cluster):
    api, run = cluster(KINDS | OPENSHIFT)
    done = run(openshift_command())
    assert done.returncode == 0, done.stderr
    kinds = [kind for _, kind in api.written]
    assert kinds[0] == "SecurityContextConstraints"
    assert "DaemonSet" in kinds


def test_every_image_file_that_the_documents_name_is_one_that_make_image_writes():
    written = set()
    version = re.search(
        r'^__version__ = "(.*)"$', (REPO / "tracer/__init__.py").read_text(), re.MULTILINE
    )
    for tag in (f"{version[1]}-core", version[1]):
        written.add(f"zombie-tracer-{tag}.tar")
    assert "--archive build/image" in (REPO / "Makefile").read_text()
    for document in ("README.md", "docs/install.md"):
        text = (REPO / document).read_text()
        named = set(re.findall(r"(?:[\w./-]*/)?(zombie-tracer-[\w.-]+\.tar)", text))
        assert named
        assert named <= written
