"""Every program gets its cause from the source that observes most."""

import os

import pytest
from support.kernel import require

from cause_programs.cases import CASES, NONE
from cause_programs.run import SECONDS, accepted, before_its_first_round, observe, result
from cause_programs.sandbox import cgroup_mount
from tracer.diagnosis.evidence import Finding
from tracer.errors import PermanentError

pytestmark = [pytest.mark.kernel, pytest.mark.slow]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """All cases run together: that takes as long as one."""
    require(os.geteuid() == 0, "the cause programs need root for namespaces and cgroups")
    require(cgroup_mount(), "the suite identifies its cases by their cgroups (cgroup2, writable)")
    cases = [case for case in CASES if not case.missing()]
    try:
        return observe(
            cases,
            "core",
            late=False,
            seconds=SECONDS,
            folder=tmp_path_factory.mktemp("cause_programs"),
        )
    except PermanentError as error:
        require(False, str(error))


def findings_of(case, seen, *, settled: bool) -> list[Finding]:
    missing = case.missing()
    require(not missing or missing == "go", f"{missing} is not installed")
    if missing:
        pytest.skip(f"{missing} is not installed")
    found = seen[case.name].latest if settled else seen[case.name].young
    return list(found.values())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_cause(case, seen):
    """The last diagnosis of a case's zombies is a right one; a healthy case has no zombies."""
    findings = findings_of(case, seen, settled=True)
    right = accepted(case, blind=False)
    if NONE in right:
        assert not findings, [result(finding) for finding in findings]
        return
    assert findings, "it left no zombie of a second"
    last = [f for f in findings if not before_its_first_round(case, f)]
    assert last
    assert {f.cause.code.value for f in last} <= right, [
        (result(f), f.cause.evidence) for f in last if f.cause.code.value not in right
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_never_wrong_and_certain(case, seen):
    """Early or late, what is called certain is right."""
    for settled in (False, True):
        for finding in findings_of(case, seen, settled=settled):
            if finding.cause.confidence.value == "certain":
                assert finding.cause.code.value in accepted(case, blind=False), (
                    finding.cause.evidence
                )
