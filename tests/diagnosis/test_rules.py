"""Diagnosis is a pure function: each rule, what makes it sure, and what makes it less sure."""

import dataclasses
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.evidence import (
    BORN,
    DIED,
    INIT,
    NOW,
    PARENT,
    SELF_FORKED,
    STRANGER,
    WORKLOAD,
    adopted,
    evidence,
    waits,
)

from tracer.clock import NS, TICK_NS
from tracer.diagnosis.rules import MAX_ADVICE_CHARACTERS, diagnose
from tracer.model import (
    Attribution,
    BlockedWait,
    CauseCode,
    Child,
    Confidence,
    Evidence,
    Forker,
    Identity,
    OriginKind,
    Process,
    WaitFor,
    Waits,
)

BLOCKED = (BlockedWait(WaitFor.PROCESS, 601, 0),)
LATE = {"any_": 9, "last": DIED - NS, "last_any": DIED - NS, "reaped": 9, "late": 9}
YOUNGER = {"watched_since_boot_ns": NOW - 2 * NS}
STARTED = Identity(500, (NOW - 20 * NS) // TICK_NS)
JUST_STARTED = {
    "parent": replace(PARENT, identity=STARTED),
    "waits": waits()._replace(watched_since_boot_ns=NOW - 20 * NS),
}

CASES = {
    "never, watched all its life": (evidence(), "parent_never_waits", "certain"),
    "never, but young": (evidence(age_ns=2 * NS), "parent_never_waits", "likely"),
    "never, but it may be in its first round of half a minute": (
        evidence(**JUST_STARTED, child={"forker": Forker(STARTED, "worker")}),
        "parent_never_waits", "likely"),
    "never, bash that has just started, and reaps on SIGCHLD": (
        evidence(**JUST_STARTED | {"parent": replace(
            PARENT, identity=STARTED, path="/usr/bin/bash", sigchld_caught=True)},
            child={"forker": Forker(STARTED, "worker")}),
        "parent_never_waits", "certain"),
    "never, but events were lost": (
        evidence(waits_complete=False), "parent_never_waits", "likely"),
    "never, agent younger than the parent": (
        evidence(waits=waits()._replace(**YOUNGER)), "parent_never_waits", "possible"),
    "never, and its fork was not observed": (
        evidence(child={"forker": None}), "parent_never_waits", "likely"),
    "never, but it catches SIGCHLD": (
        evidence(parent=replace(PARENT, sigchld_caught=True)), "parent_never_waits", "likely"),
    "never, bash, which catches it always": (
        evidence(parent=replace(PARENT, path="/usr/bin/bash", sigchld_caught=True)),
        "parent_never_waits", "certain"),
    "never, dash, which may still wait": (
        evidence(parent=replace(PARENT, path="/usr/bin/dash")), "parent_never_waits", "likely"),
    "without BPF": (evidence(waits=None, child={"forker": None}), "parent_never_waits", "possible"),
    "made with CLONE_PARENT by one that lives": (
        evidence(child={"forker": STRANGER}, forker_alive=True), "parent_never_waits", "certain"),
    "sleep in the place of its shell": (
        evidence(
            parent=replace(INIT, path="/usr/bin/sleep", comm="sleep"), age_ns=NS,
            waits=waits(3, 0, last=BORN, last_any=BORN, reaped=3)),
        "parent_never_waits", "certain"),
    "a program executed over the shell that forked it": (
        evidence(child={"start_boot_ns": BORN}, waits=waits()._replace(
            exec_boot_ns=BORN + NS, watched_since_boot_ns=BORN + NS)),
        "parent_never_waits", "certain"),
    "blocked for another since before": (
        evidence(waits=waits(0, 1, last=DIED - NS), blocked_waits=BLOCKED),
        "parent_waits_elsewhere", "certain"),
    "blocked for another, many threads": (
        evidence(waits=waits(0, 1, last=DIED - NS), blocked_waits=BLOCKED,
                 parent=replace(PARENT, threads=5)),
        "parent_waits_elsewhere", "likely"),
    "blocked for another, without BPF": (
        evidence(waits=None, child={"forker": None}, blocked_waits=BLOCKED),
        "parent_waits_elsewhere", "likely"),
    "reaps others by their pids, and did not collect it": (
        evidence(waits=waits(0, 9, last=NOW - NS, wanted=700, reaped=9)),
        "parent_waits_elsewhere", "certain"),
    "polls a living one": (
        evidence(waits=waits(0, 9, last=NOW - NS, wanted=700)),
        "parent_waits_elsewhere", "likely"),
    "polled living children, then no more": (
        evidence(waits=waits(0, 9, last=DIED - NS, wanted=700)),
        "parent_never_waits", "likely"),
    "tried its calls out at the start": (
        evidence(waits=waits(0, 2, last=BORN + NS, reaped=1)), "parent_never_waits", "possible"),
    "a wait for any child did not collect it": (
        evidence(waits=waits(5, 9, last=NOW - NS, last_any=NOW - NS, reaped=3)),
        "parent_waits_elsewhere", "likely"),
    "clone that sends no SIGCHLD": (
        evidence(exit_signal=0, waits=waits(5, last=DIED - NS, last_any=DIED - NS),
                 blocked_waits=(BlockedWait(WaitFor.ANY, None, 0),)),
        "parent_waits_elsewhere", "likely"),
    "slow, by habit": (
        evidence(waits=waits(**LATE, late_ns=90 * NS)), "slow_reaper", "certain"),
    "slow, but overdue": (evidence(waits=waits(**LATE, late_ns=9 * NS)), "slow_reaper", "likely"),
    "slow, by pid": (
        evidence(waits=waits(0, 4, last=DIED - NS, reaped=4, late=4, late_ns=12 * NS)),
        "slow_reaper", "likely"),
    "slow, but waited and did not collect it": (
        evidence(waits=waits(9, last=NOW - NS, last_any=NOW - NS, reaped=9, late=2, late_ns=4 * NS)),
        "parent_waits_elsewhere", "likely"),
    "reaped while its evidence was gathered": (
        evidence(gone=True, waits=waits(0, 9, last=NOW, reaped=9, late=9, late_ns=27 * NS)),
        "slow_reaper", "likely"),
    "adopted by a pid 1 that never waited": (adopted(), "init_does_not_reap", "certain"),
    "adopted by a pid 1 that may be in its first round": (
        adopted(**JUST_STARTED | {"parent": replace(INIT, identity=STARTED)}),
        "init_does_not_reap", "likely"),
    "adopted, and perhaps from an exec": (
        adopted(origin=None), "init_does_not_reap", "likely"),
    "adopted by one that supervises": (
        adopted(waits=waits(0, 5, last=DIED - NS, reaped=4), blocked_waits=BLOCKED),
        "init_does_not_reap", "certain"),
    "adopted by a pid 1 older than us": (
        adopted(waits=waits()._replace(**YOUNGER)), "init_does_not_reap", "possible"),
    "adopted by tail": (
        adopted(parent=replace(INIT, path="/usr/bin/tail"), age_ns=NS,
                waits=waits()._replace(**YOUNGER)),
        "init_does_not_reap", "certain"),
    "adopted after its death": (
        replace(
            adopted(), child=replace(adopted().child, exit_parent_pid=77)),
        "init_does_not_reap", "likely"),
    "adopted by a late pid 1": (
        adopted(waits=waits(**LATE, late_ns=90 * NS)), "slow_reaper", "certain"),
    "adopted by a subreaper": (
        adopted(parent=PARENT), "init_does_not_reap", "likely"),
    "in a session that neither of the two created, without BPF": (
        evidence(child={"forker": None, "exit_parent_pid": None}, waits=None, parent=INIT, session=550),
        "init_does_not_reap", "likely"),
    "tini adopted it, without BPF": (
        evidence(child={"forker": None, "exit_parent_pid": None}, waits=None,
                 parent=replace(INIT, path="/sbin/tini"), session=550),
        "parent_never_waits", "possible"),
    "left by an exec": (
        replace(adopted(), child=replace(adopted().child, origin=OriginKind.SETNS)),
        "exec_orphan", "certain"),
    "the process of the exec is alive and never waits": (
        evidence(child={"origin": OriginKind.SETNS}), "parent_never_waits", "certain"),
    "left by an exec, by its session alone": (
        evidence(child={"forker": None, "exit_parent_pid": None}, waits=None, parent=INIT,
                 session=550, joined_from_outside=True),
        "exec_orphan", "likely"),
    "shim": (
        evidence(parent=replace(PARENT, path="/usr/bin/containerd-shim-runc-v2")),
        "runtime_parent", "certain"),
    "a tenant's conmon": (
        evidence(parent=replace(PARENT, comm="conmon", vpid=7)), "parent_never_waits", "certain"),
    "stopped, and had waited": (
        evidence(parent=replace(PARENT, state="T"),
                 waits=waits(3, last=DIED - NS, last_any=DIED - NS, reaped=3)),
        "parent_stopped", "certain"),
    "stopped, and had not": (
        evidence(parent=replace(PARENT, state="T")), "parent_stopped", "likely"),
    "frozen": (evidence(parent=replace(PARENT, frozen=True)), "parent_stopped", "likely"),
    "stuck in D": (
        evidence(parent=replace(PARENT, state="D", threads_uninterruptible=1),
                 parent_unmoved_ns=NS),
        "parent_stopped", "likely"),
    "passing through D": (
        evidence(parent=replace(PARENT, state="D", threads_uninterruptible=1)),
        "parent_never_waits", "likely"),
    "traced by another": (
        evidence(child={"tracer_pid": 900}), "traced", "certain"),
    "traced by its parent": (evidence(child={"tracer_pid": 500}), "traced", "likely"),
    "ignores SIGCHLD": (
        evidence(parent=replace(PARENT, sigchld_ignored=True)), "sigchld_ignored", "likely"),
    "parent unreadable": (evidence(parent=None, waits=None), "unknown", "possible"),
}  # fmt: skip


@pytest.mark.parametrize(("given_", "code", "sure"), CASES.values(), ids=CASES)
def test_rule(given_, code, sure):
    cause = diagnose(given_)
    assert (cause.code.value, cause.confidence.value) == (code, sure), cause.evidence


def test_evidence_lines_carry_values():
    """They name the parent, its waits and the age, so that the result can be checked."""
    text = "\n".join(diagnose(evidence(siblings=3)).evidence)
    for fact in ("500 (worker)", "made no wait call since it started 100 s ago", "12 s", "3 other"):
        assert fact in text


moments = st.none() | st.integers(0, NOW)
a_waits = st.builds(
    Waits,
    st.integers(0, 9), st.integers(0, 9), moments, moments, st.none() | st.integers(1, 700),
    st.integers(0, 9), st.integers(0, 9), st.integers(0, NOW), st.integers(0, NOW),
)  # fmt: skip
a_parent = st.builds(
    Process,
    st.just(PARENT.identity),
    st.sampled_from(["worker", "conmon", "sh", "tail"]),
    st.sampled_from("RSDTtZ"),
    st.just(1),
    vpid=st.none() | st.sampled_from([1, 7, 500]),
    path=st.none() | st.sampled_from(["/bin/tail", "/sbin/tini", "/usr/bin/conmon", "/x"]),
    session=st.none() | st.just(500),
    threads=st.integers(1, 3),
    sigchld_ignored=st.none() | st.booleans(),
    frozen=st.none() | st.booleans(),
)
a_child = st.builds(
    Child,
    st.just(Identity(600, 0)),
    st.just(500),
    st.integers(0, NOW),
    exit_boot_ns=moments,
    exit_parent_pid=st.none() | st.sampled_from([500, 77]),
    forker=st.sampled_from([None, SELF_FORKED, STRANGER]),
    origin=st.none() | st.sampled_from(list(OriginKind)),
    tracer_pid=st.none() | st.sampled_from([500, 900]),
)
blocked = st.builds(
    BlockedWait, st.sampled_from(list(WaitFor)), st.none() | st.just(600), st.just(0)
)
an_evidence = st.builds(
    Evidence,
    now_boot_ns=st.just(NOW),
    child=a_child,
    parent=st.none() | a_parent,
    waits=st.none() | a_waits,
    attached_boot_ns=moments,
    age_ns=st.integers(0, NOW),
    siblings=st.integers(0, 9),
    session=st.none() | st.sampled_from([500, 550]),
    attribution=st.sampled_from([None, Attribution(), Attribution(workload=WORKLOAD)]),
    forker_alive=st.none() | st.booleans(),
    blocked_waits=st.lists(blocked, max_size=2).map(tuple),
    gone=st.booleans(),
)


@given(an_evidence)
def test_any_evidence_is_diagnosed(given_):
    """Whatever is missing: a cause, facts for it, and advice that fits a log line."""
    cause = diagnose(given_)
    assert cause.evidence
    assert all(line and "\n" not in line for line in cause.evidence)
    assert 0 < len(cause.advice) <= MAX_ADVICE_CHARACTERS


@given(an_evidence)
def test_never_is_certain_only_when_nothing_can_have_been_missed(given_):
    cause = diagnose(given_)
    nature = given_.parent is not None and given_.parent.path == "/bin/tail"
    if cause.code is CauseCode.PARENT_NEVER_WAITS and cause.confidence is Confidence.CERTAIN:
        watched = given_.waits is not None and not given_.waits.any and not given_.waits.specific
        assert nature or watched
        assert given_.child.forker is not None


def test_evidence_without_a_value_is_not_compared():
    """Each field of Evidence beyond the first ones may be missing."""
    bare = {f.name for f in dataclasses.fields(Evidence) if f.default is dataclasses.MISSING}
    full = evidence()
    cause = diagnose(Evidence(**{name: getattr(full, name) for name in bare}))
    assert cause.code is CauseCode.PARENT_NEVER_WAITS
