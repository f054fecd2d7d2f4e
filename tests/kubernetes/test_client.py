"""The loader of the Kubernetes client, against the version that pyproject.toml pins."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from tracer.kubernetes import client

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"

ONLY_IN_INIT = {
    "kubernetes": "__version__",
    "kubernetes.client": "CoreV1Api",
    "kubernetes.client.models": "V1Pod",
    "kubernetes.config": "load_kube_config",
}
"""A name of each entered package that only its `__init__` provides."""


def run(code):
    """Run this in a new interpreter and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_installed_client_is_the_pinned_one():
    """The loader depends on the client's layout: another version needs another look at it."""
    (requirement,) = (
        each
        for each in tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["dependencies"]
        if each.startswith("kubernetes")
    )
    assert requirement == f"kubernetes=={version('kubernetes')}", "run: make setup"


def test_no_init_of_the_client_runs_and_no_model_is_loaded():
    """Each package is in sys.modules with nothing of its own in it yet."""
    loaded = run(f"""
import json, sys
from tracer.kubernetes import client
client.load()
names = {ONLY_IN_INIT!r}
print(json.dumps({{
    "entered": [package for package in names if package in sys.modules],
    "initialized": [p for p, name in names.items() if name in vars(sys.modules[p])],
    "models": sum(name.startswith("kubernetes.client.models.") for name in sys.modules),
    "apis": sum(name.startswith("kubernetes.client.api.") for name in sys.modules),
}}))
""")
    assert loaded == {"entered": list(client.PACKAGES), "initialized": [], "models": 0, "apis": 0}
    assert set(ONLY_IN_INIT) == set(client.PACKAGES)


@pytest.mark.parametrize("package", client.PACKAGES)
def test_an_entered_package_still_provides_all_that_its_init_does(package):
    """Asked for a name of its `__init__`, it has the names of an ordinary import."""
    names = "sorted(n for n in vars(m) if not n.startswith('__') and n != 'getattr')"
    ordinary = run(f"import importlib, json; m = importlib.import_module({package!r})\n"
                   f"print(json.dumps({names}))")  # fmt: skip
    entered = run(f"""
import importlib, json
from tracer.kubernetes import client
client.load()
m = importlib.import_module({package!r})
assert getattr(m, {ONLY_IN_INIT[package]!r})
print(json.dumps({names}))
""")
    assert set(ordinary) <= set(entered)


@pytest.mark.parametrize("name", client.NAMES)
def test_the_names_that_make_requests_are_those_of_an_ordinary_import(name):
    """`kubernetes.client.NAME` is the very class that the client's own `__init__` exports."""
    same = run(f"""
import json
from tracer.kubernetes import client
lean = client.load()
before = lean.{name}
lean.CoreV1Api
print(json.dumps(before is lean.{name} and client.load() is lean))
""")
    assert same is True


def test_an_api_class_works_through_the_lean_client():
    """What asks for the whole client after all gets it, made of the same parts."""
    assert run("""
import json
from tracer.kubernetes import client
lean = client.load()
from kubernetes.client import CoreV1Api, V1Pod
import kubernetes
core = CoreV1Api(lean.ApiClient(lean.Configuration()))
print(json.dumps([kubernetes.client.V1Pod(metadata={}).metadata == {}, core is not None]))
""") == [True, True]
