"""What to do about a zombie: the steps, and the commands in them, which are safe to paste."""

import re
import shlex
import subprocess
from dataclasses import replace

import pytest
from support.evidence import INIT, NOW, PARENT, WORKLOAD, adopted, evidence, in_pod, waits

from tracer.clock import NS
from tracer.diagnosis.rules import MAX_ADVICE_CHARACTERS, diagnose, remediation_steps
from tracer.model import Attribution, CauseCode, Owner, Probe

ODD_NAMES = (
    "two words.service",
    "$(touch owned).service",
    "it's; touch owned #.service",
    '"quoted" && touch owned.service',
    r"a\x2db\nc.service",
    "--now.service",
    "-$(touch owned).service",
    "*.service",
)
"""Names that a tenant may give to a systemd unit on some nodes."""

UNPASTEABLE_NAMES = ("`touch owned`.service", "new\nline.service", "re\u202eversed.service")
"""Copied out of backquotes or from a terminal, these would be something else."""


@pytest.fixture
def run(tmp_path):
    """Run a command line in a shell, where each program only prints its arguments."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "kubectl"):
        script = '#!/bin/sh\nfor argument; do printf "%s\\0" "$argument"; done\n'
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    folder = tmp_path / "cwd"
    folder.mkdir()
    (folder / "other.service").touch()

    def paste(command):
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env={"PATH": f"{programs}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert [path.name for path in folder.iterdir()] == ["other.service"], command
        return done.stdout.split("\0")[:-1]

    return paste


def command_in(steps, word):
    """Return the command that contains a word, from between its backquotes."""
    [step] = [step for step in steps if word in step]
    return re.search(f"`([^`]*{word}[^`]*)`", step)[1]


@pytest.mark.parametrize("unit", ODD_NAMES)
def test_a_unit_with_an_odd_name_is_one_argument(run, unit):
    """The shell does nothing with it, and systemctl takes it for a unit and not for an option."""
    given = evidence(attribution=Attribution(unit=unit))
    steps = remediation_steps(CauseCode.PARENT_NEVER_WAITS, given)
    verb, *rest = run(command_in(steps, "systemctl"))
    assert verb == "restart"
    assert rest == (["--", unit] if unit.startswith("-") else [unit])


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("owner", [None, "Deployment"])
def test_names_of_pods_are_one_argument(run, name, owner):
    """Namespace, pod, container and owner alike."""
    workload = replace(
        WORKLOAD,
        namespace=name,
        pod=name,
        container=name,
        owner=None if owner is None else Owner(owner, name),
        probes=(),
    )
    given = in_pod(adopted(), workload)
    steps = remediation_steps(CauseCode.INIT_DOES_NOT_REAP, given)
    for step in remediation_steps(CauseCode.EXEC_ORPHAN, given), steps:
        restart = run(command_in(step, "rollout restart" if owner else "delete pod"))
        assert restart[:2] == ["-n", name]
        assert restart[-1] == (f"deployment/{name}" if owner else name)
    assert run(command_in(steps, "jsonpath"))[:5] == ["-n", name, "get", "pod", name]
    stopped = in_pod(evidence(parent=replace(PARENT, state="T", vpid=7)), workload)
    resume = run(command_in(remediation_steps(CauseCode.PARENT_STOPPED, stopped), "kill -CONT"))
    assert resume == ["-n", name, "exec", name, "-c", name, "--", "kill", "-CONT", "7"]


@pytest.mark.parametrize("name", UNPASTEABLE_NAMES)
def test_a_name_that_cannot_be_pasted_is_in_no_command(name):
    given = (
        evidence(attribution=Attribution(unit=name)),
        in_pod(adopted(), replace(WORKLOAD, pod=name)),
        in_pod(adopted(), replace(WORKLOAD, probes=(Probe("livenessProbe", (name,), 10, 1),))),
        evidence(parent=replace(PARENT, frozen=True, cgroup_path=f"/{name}")),
    )
    for one in given:
        for code in CauseCode:
            text = "\n".join(remediation_steps(code, one))
            assert "owned" not in text
            assert "line.service" not in text
            assert "versed" not in text


def test_a_cgroup_with_an_odd_name_is_one_argument():
    path = "/user.slice/$(touch owned) it's.scope"
    frozen = evidence(parent=replace(PARENT, frozen=True, cgroup_path=path))
    [step] = remediation_steps(CauseCode.PARENT_STOPPED, frozen)
    words = shlex.split(re.search("`(echo 0 .*?)` on the node", step)[1])
    assert words == ["echo", "0", ">", f"/sys/fs/cgroup{path}/cgroup.freeze"]


def test_a_probes_command_reads_as_the_shell_would_take_it():
    probe = Probe("livenessProbe", ("sh", "-c", "sleep 1 & exit 0"), 10, 1)
    given = in_pod(adopted(), replace(WORKLOAD, probes=(probe,)))
    text = "\n".join(remediation_steps(CauseCode.EXEC_ORPHAN, given))
    assert "livenessProbe runs `sh -c 'sleep 1 & exit 0'` every 10 s, timeout 1 s" in text


LONG_NAMES = {
    "escaped": replace(PARENT, comm="\x1b" * 15, path="/srv/" + "\x1b" * 250),
    "program": replace(PARENT, path="/srv/" + "x" * 250),
    "frozen": replace(PARENT, frozen=True, cgroup_path="/a" * 2000),
    "subreaper": replace(PARENT, path="/srv/" + "y" * 250, vpid=70000),
}


@pytest.mark.parametrize("parent", LONG_NAMES.values(), ids=LONG_NAMES)
def test_long_names_leave_room_for_the_advice(parent):
    """However long they are, and longer when escaped: the first step is there and complete."""
    for code in CauseCode:
        given = evidence(parent=parent, child={"parent_pid": parent.identity.pid})
        first = remediation_steps(code, given)[0]
        assert len(first) <= MAX_ADVICE_CHARACTERS, code
    for given in (evidence(parent=parent), adopted(parent=parent)):
        advice = diagnose(given).advice
        assert 0 < len(advice) <= MAX_ADVICE_CHARACTERS
        assert not advice.endswith("…")


def test_each_step_of_each_cause_is_a_sentence():
    """It begins with a capital or with a name, and ends with a full stop."""
    for code in CauseCode:
        for given in (evidence(), in_pod(evidence()), in_pod(adopted(parent=INIT))):
            for step in remediation_steps(code, given):
                assert re.match(r"[A-Z`]|[a-z0-9-]+ \(pid ", step), step
                assert step.endswith("."), step


def test_advice_has_commands_for_this_pod():
    """Filled in, ready to paste."""
    steps = "\n".join(remediation_steps(CauseCode.INIT_DOES_NOT_REAP, in_pod(adopted())))
    assert "kubectl -n shop rollout restart deployment/cart" in steps
    assert '{"spec":{"template":{"spec":{"shareProcessNamespace":true}}}}' in steps
    assert "`command:` replaces the image's entrypoint" in steps
    entered = replace(
        adopted(), joined_from_outside=True, attribution=Attribution(workload=WORKLOAD)
    )
    entered = replace(entered, child=replace(entered.child, origin=None))
    cause = diagnose(entered)
    assert cause.code is CauseCode.EXEC_ORPHAN
    assert "livenessProbe runs `/bin/check -v` every 10 s, timeout 1 s" in cause.advice


def test_advice_to_continue_uses_the_pid_inside_the_pod():
    stopped = in_pod(evidence(parent=replace(PARENT, state="T", vpid=7)))
    text = diagnose(stopped).advice
    assert "kubectl -n shop exec cart-7d4f-x -c app -- kill -CONT 7" in text


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/usr/bin/python3.11", "Popen"),
        ("/usr/bin/node", "event loop"),
        ("/usr/bin/perl", "waitpid"),
        ("/usr/bin/dash", "`wait`"),
        ("/app/server", "Cmd.Wait"),
    ],
)
def test_advice_fits_the_language_of_the_program(path, word):
    text = diagnose(evidence(parent=replace(PARENT, path=path))).advice
    assert word in text
    assert "An init (tini) does not help here" in text


def test_a_parent_that_waits_for_any_child_is_not_advised_to():
    """Its wait call did not collect this child: the advice says how that comes about."""
    cause = diagnose(evidence(waits=waits(5, 0, last=NOW - NS, last_any=NOW - NS)))
    collected = "the parent called wait() for any child after this exit but did not collect it"
    assert collected in cause.evidence
    assert "WNOWAIT" in cause.advice
    assert "waits only for specific PIDs" not in cause.advice


def test_a_tracer_that_is_the_parent_is_not_excused():
    """The parent is not at fault where another process traces its child, and only there."""
    for tracer_pid, excused in ((900, True), (500, False)):
        advice = diagnose(evidence(child={"tracer_pid": tracer_pid})).advice
        assert ("The parent is not at fault" in advice) == excused


def test_advice_names_the_pid_that_the_owner_of_the_container_sees():
    text = diagnose(evidence(parent=replace(PARENT, vpid=7))).advice
    assert "worker (pid 500, 7 in its container)" in text


def test_sentences_are_escaped_for_a_terminal():
    """`jq -r` prints them as they are, and a process chooses its own name."""
    cause = diagnose(evidence(parent=replace(PARENT, comm="\x1b]0;pwn\x07", path=None)))
    assert all(line.isprintable() for line in (*cause.evidence, cause.advice))
    assert r"500 (\x1b]0;pwn\x07)" in "\n".join(cause.evidence)
