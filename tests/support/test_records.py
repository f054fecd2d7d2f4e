"""Made-up records must not depend on how long the machine has been up."""

from hypothesis import given
from hypothesis import strategies as st

from support.records import child
from tracer.clock import NS, TICK_NS


@given(st.integers(0, 10**10 * NS), st.integers(1, 2**22 - 1))
def test_a_made_up_child_never_lives_in_the_future(now, pid):
    made = child(pid, now_boot_ns=now)
    for who in (made.identity, made.forker.identity):
        assert 0 <= who.start_ticks <= now // TICK_NS
    assert 0 <= made.start_boot_ns <= made.exit_boot_ns <= now
