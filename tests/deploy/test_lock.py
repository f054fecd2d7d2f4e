"""The lock: one set of versions for development, tests and the image. `make lock` writes it."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).parents[2]
RUNTIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
PROJECT = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]


def locked(file):
    """Return {name: (Requirement, hashes)} of a lock file."""
    text = (REPO / file).read_text("utf-8").replace("\\\n", " ")
    pins = {}
    for line in text.splitlines():
        if line and not line.lstrip().startswith("#"):
            requirement = Requirement(line.partition(" --hash")[0])
            hashes = frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
            pins[canonicalize_name(requirement.name)] = (requirement, hashes)
    return pins


def pinned_version(requirement):
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not pinned"
    return specifier.version


@pytest.mark.parametrize("file", [RUNTIME, DEVELOPMENT])
def test_every_package_is_pinned_with_hashes_and_no_registry_is_named(file):
    pins = locked(file)
    assert len(pins) > 10
    for requirement, hashes in pins.values():
        assert pinned_version(requirement)
        assert hashes, f"{requirement} has no hash: run `make lock`"
    text = (REPO / file).read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash)", text, re.MULTILINE), "an option of pip"


def test_what_the_image_installs_is_what_the_tests_run_with():
    """The runtime lock is a part of the development lock, hash by hash."""
    runtime, development = locked(RUNTIME), locked(DEVELOPMENT)
    for name, (requirement, hashes) in runtime.items():
        other, other_hashes = development[name]
        assert pinned_version(requirement) == pinned_version(other), name
        assert hashes == other_hashes, name
    assert f"-r {RUNTIME}" in (REPO / "Dockerfile").read_text("utf-8")
    assert f"--requirement {DEVELOPMENT}" in (REPO / "Makefile").read_text("utf-8")


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (RUNTIME, PROJECT["dependencies"]),
        (DEVELOPMENT, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]),
    ],
)
def test_the_lock_has_what_pyproject_asks_for(file, wanted):
    pins = locked(file)
    for text in wanted:
        asked = Requirement(text)
        pin = pins.get(canonicalize_name(asked.name))
        assert pin, f"{file} lacks {text}: run `make lock`"
        assert asked.specifier.contains(pinned_version(pin[0])), f"{text}: run `make lock`"


def test_the_installed_packages_are_the_locked_ones():
    """What these tests run with is the lock, and not what was newest some day."""
    wrong = {}
    for name, (requirement, _) in locked(DEVELOPMENT).items():
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = None
        if installed != pinned_version(requirement):
            wrong[name] = (installed, pinned_version(requirement))
    assert not wrong, f"installed and locked differ, run `make setup`: {wrong}"
