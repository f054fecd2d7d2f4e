"""docs/architecture.md names files and functions that exist, and every package."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\d+\. `([\w/.]+)`, `(\w+)`", TEXT, re.MULTILINE)


def test_the_path_of_a_zombie_has_at_most_twelve_steps():
    assert 8 <= len(STEPS) <= 12


@pytest.mark.parametrize(("file", "function"), STEPS)
def test_each_step_is_a_function_of_that_file(file, function):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"\bdef {function}\(|\b{function}\(struct|\b{function}\(void", text)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tracer|bpf|tests)/[\w/.]*)`", TEXT))))
def test_each_path_exists(path):
    assert (ROOT / path).exists()


def test_every_package_is_listed():
    packages = {f"tracer/{path.parent.name}/" for path in (ROOT / "tracer").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"^\| `([\w/]+)` \|", TEXT, re.MULTILINE))
