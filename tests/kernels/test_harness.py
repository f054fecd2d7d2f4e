"""The harness must not take silence, a cut-off run or a talkative guest for success."""

from pathlib import Path

import machine
import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_a_whole_run_is_split_into_its_parts():
    """The status line is not part of the command's output."""
    assert machine.parse("@started 5.10.0\nhello\n\n@status 3\n") == ("5.10.0", "hello\n", 3)


def test_no_line_is_no_status():
    """A guest that never started, or stopped in the middle, has no status."""
    assert machine.parse("") == (None, "", None)
    assert machine.parse("@started 6.1\nhello\n") == ("6.1", "hello\n", None)
    assert machine.parse("@started 6.1\nhello\n\n@status ") == ("6.1", "hello\n\n@status ", None)


@given(st.text(st.characters(codec="utf-8")), st.integers(0, 255))
def test_what_the_command_prints_cannot_stand_for_its_status(said, status):
    """Only the last line counts, whatever was printed before it."""
    text = f"@started 7.2\n{said}\n@status 0\nmore\n@status {status}\n"
    assert machine.parse(text)[2] == status
    assert machine.parse(f"@started 7.2\n{said}\n@status 0\nmore")[2] is None


QEMU = """#!/bin/sh
echo >>{folder}/boots
for word; do case $word in file:*.console) console=${{word#file:}} ;; file:*) result=${{word#file:}} ;; esac; done
if [ $(wc -l <{folder}/boots) -le {panics} ]; then
	echo 'Kernel panic - not syncing: Fatal exception in interrupt' >"$console"
	{started}
	exit
fi
printf '@started 7.2\\n\\n@status 0\\n' >"$result"
"""


@pytest.mark.parametrize(
    ("panics", "started", "boots", "result"),
    [
        (2, ":", 3, "ok"),
        (9, ":", machine.BOOTS, "FAILED: the guest panicked without a status"),
        # The command may have done it: one panic is a failure.
        (9, "echo '@started 7.2' >$result", 1, "FAILED: the guest panicked without a status"),
    ],
)
def test_only_a_panic_before_init_is_tried_again(
    panics, started, boots, result, tmp_path, monkeypatch
):
    qemu = tmp_path / "qemu"
    qemu.write_text(QEMU.format(folder=tmp_path, panics=panics, started=started))
    qemu.chmod(0o755)
    monkeypatch.setattr(machine, "_QEMU", str(qemu))
    kernel = machine.Kernel("sid", "7.2", Path("/vmlinuz"))
    plan = machine.Plan(["true"], [], large=False, timeout_seconds=9)
    outcome = machine.boot(kernel, plan, [], tmp_path)
    assert outcome.result == result
    assert len((tmp_path / "boots").read_text().splitlines()) == boots


def outcome(**facts):
    made = {
        "kernel": None,
        "release": "6.1",
        "status": None,
        "output": "",
        "console": "",
        "seconds": 1.0,
        "timed_out": False,
    }
    return machine.Outcome(**{**made, **facts})


def test_results_say_how_a_guest_failed():
    """Each way of failing has words of its own."""
    assert outcome(status=0).result == "ok"
    assert "exit status 3" in outcome(status=3).result
    assert "timeout" in outcome(status=143).result
    assert "in time" in outcome(timed_out=True).result
    assert "panicked" in outcome(console="Kernel panic - not syncing: x").result
    assert "without a status" in outcome().result
