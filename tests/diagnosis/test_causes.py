"""One table of causes: the contract, the emulator and the documentation agree with it."""

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

import tracer
from tracer.diagnosis import causes
from tracer.diagnosis.causes import CAUSES
from tracer.emulate.scenarios import SCENARIOS
from tracer.model import CauseCode

CODES = [cause.code.value for cause in CAUSES]
NOT_DIAGNOSED_YET = {"parent_exiting"}
"""In the contract, and without a rule so far."""
CONTRACT = {
    "parent_never_waits",
    "parent_waits_elsewhere",
    "slow_reaper",
    "init_does_not_reap",
    "exec_orphan",
    "runtime_parent",
    "parent_stopped",
    "parent_exiting",
    "traced",
    "sigchld_ignored",
    "unknown",
}
NOT_A_CAUSE = {"dead_leader"}
"""What the emulator makes to show that it is not reported."""
DOCUMENT = Path(tracer.__file__).parent.parent / "docs" / "causes.md"


def rows(heading):
    """Return the rows below a heading of docs/causes.md, as lists of cells."""
    section = DOCUMENT.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_code_of_the_contract_has_one_definition():
    assert sorted(CODES) == sorted(CONTRACT - NOT_DIAGNOSED_YET)
    assert {code.value for code in CauseCode} == set(CODES)


def test_the_schema_of_the_log_lines_has_the_same_codes():
    schema = json.loads(files("tracer").joinpath("schema/log-line.schema.json").read_text())
    [code] = [schema["$defs"]["cause"]["properties"]["code"]["enum"]]
    assert {one for one in code if one is not None} - NOT_DIAGNOSED_YET == set(CODES)


def test_each_cause_is_in_the_file_that_has_its_name():
    folder = Path(causes.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {*CODES, "__init__"}
    for cause in CAUSES:
        assert cause.rule.__module__ == f"tracer.diagnosis.causes.{cause.code}"
        assert cause.remediation.__module__ == cause.rule.__module__


@pytest.mark.parametrize("cause", CAUSES, ids=CODES)
def test_each_cause_has_a_scenario_or_says_why_not(cause):
    assert (cause.scenario is None) == bool(cause.no_scenario)
    assert cause.scenario is None or cause.scenario in SCENARIOS


def test_each_scenario_of_the_emulator_is_of_one_cause():
    made = [cause.scenario for cause in CAUSES if cause.scenario is not None]
    assert sorted(made) == sorted(SCENARIOS.keys() - NOT_A_CAUSE)


def test_the_documentation_has_the_same_causes_in_the_same_words():
    assert [(code, situation) for code, situation, _ in rows("What each cause means")] == [
        (f"`{cause.code}`", cause.situation) for cause in CAUSES
    ]


def test_the_documentation_says_of_each_cause_how_sure_it_is_and_what_to_do():
    for heading in ("How sure a cause is", "What to do"):
        assert [code for code, *_ in rows(heading)] == [f"`{code}`" for code in CODES], heading


def test_the_documentation_names_the_examples_to_try():
    """Each scenario, and for each cause without one the reason."""
    text = DOCUMENT.read_text("utf-8")
    for cause in CAUSES:
        example = f"--cause {cause.scenario}" if cause.scenario else cause.no_scenario
        assert re.sub(r"\s+", " ", example) in re.sub(r"\s+", " ", text), cause.code
