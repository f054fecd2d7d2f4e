"""The harness must not take silence, a cut-off run or a talkative guest for success."""

import machine
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
