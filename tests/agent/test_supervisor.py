"""What follows from an error of the source, by its kind, and the way back to a better one."""

import errno

import pytest
from support.sources import ScriptedSource

from tracer.agent.backoff import Backoff, Pace
from tracer.agent.supervisor import FAILURES_BEFORE_FALLBACK, Supervisor
from tracer.clock import NS
from tracer.errors import PermanentError, TemporaryError

FULL = OSError(errno.EMFILE, "Too many open files", "1/stat")
PACE = Pace(jitter=lambda: 1.0)


class World:
    """Three scripted sources under one supervisor, and a clock that stands still."""

    def __init__(self, wanted="auto", **start_errors):
        self.now = 1_000 * NS
        self.sources = {
            name: ScriptedSource(
                name,
                clock=lambda: self.now,
                start_error=start_errors.get(name),
                attached=name != "proc",
            )
            for name in ("core", "bcc", "proc")
        }
        makers = {name: lambda s=source: s for name, source in self.sources.items()}
        self.supervisor = Supervisor(wanted, makers, pace=PACE)

    def __getattr__(self, name):
        return self.sources[name]

    def start(self):
        self.supervisor.start()
        return self

    def poll(self):
        """Poll as the engine does; return what is to be reported."""
        if not self.supervisor.ready(self.now):
            return None
        try:
            self.supervisor.poll(self.now)
        except Exception as error:
            return self.supervisor.failed(error, self.now)
        self.supervisor.worked()
        return None

    def wait(self):
        """Let the time pass until something is due."""
        due = self.supervisor.next_poll_boot_ns(self.now)
        assert due > self.now, "it would spin"
        self.now = due

    def fail(self, times):
        """Poll until the source has failed so often; return what is to be reported."""
        said = []
        before = len(self.sources[self.supervisor.name].polls)
        source = self.sources[self.supervisor.name]
        while len(source.polls) < before + times:
            said.append(self.poll())
            self.wait()
        return [change for change in said if change is not None]


def test_a_temporary_error_is_retried():
    world = World().start()
    world.core.poll_error = FULL
    began = world.now
    assert world.fail(FAILURES_BEFORE_FALLBACK - 1) == []
    assert "core failed: cannot read 1/stat: Too many open files" in world.supervisor.problem
    assert "raise the agent's limit" in world.supervisor.problem
    assert world.now - began == (1 + 2 + 4 + 8) * NS // 10
    world.core.poll_error = None
    world.poll()
    assert world.supervisor.problem is None
    assert world.core.starts == 1
    assert world.bcc.starts == world.proc.starts == 0


def test_the_waits_are_bounded_and_keep_the_loop_ticking():
    """/healthz fails after 30 s without a tick."""
    world = World("core").start()
    world.core.poll_error = FULL
    for _ in range(40):
        before = world.now
        world.poll()
        world.wait()
        assert world.now - before <= 5 * NS
    assert world.core.polls[-1] - world.core.polls[-2] == PACE.retry_longest_ns


def test_a_named_source_is_tried_for_ever_and_never_replaced():
    world = World("core").start()
    world.core.poll_error = FULL
    assert world.fail(30) == []
    assert world.supervisor.name == "core"
    assert world.supervisor.problem is not None
    assert world.bcc.starts == world.proc.starts == 0
    world.core.poll_error = PermanentError("the program is gone")
    with pytest.raises(PermanentError, match="core failed: the program is gone"):
        world.fail(1)


def test_repeated_failure_falls_back_and_the_better_source_comes_back():
    world = World(bcc=PermanentError("no bcc")).start()
    world.core.poll_error = FULL
    [change] = world.fail(FAILURES_BEFORE_FALLBACK)
    assert (change.name, change.previous, change.improvement) == ("proc", "core", False)
    assert "Too many open files" in change.reason
    assert "bcc cannot work here: no bcc; proc works; core will be tried again" in change.reason
    assert world.supervisor.problem is None
    assert (world.core.open, world.proc.open) == (False, True)
    assert world.supervisor.attached_boot_ns is None
    failed_at = world.core.polls[-1]

    world.core.start_error = PermanentError("still gone")
    attempts = []
    while len(attempts) < 7:
        starts = world.core.starts
        assert world.supervisor.return_to_better(world.now) is None
        attempts += [world.now - failed_at] * (world.core.starts - starts)
        world.wait()
    waits = [b - a for a, b in zip([0, *attempts], attempts, strict=False)]
    assert waits == [seconds * NS for seconds in (30, 60, 120, 240, 480, 600, 600)]
    assert world.bcc.starts == 1, "it never ran here and failed for good"

    world.core.start_error = world.core.poll_error = None
    while (change := world.supervisor.return_to_better(world.now)) is None:
        world.wait()
    assert (change.name, change.previous, change.improvement) == ("core", "proc", True)
    assert (world.core.open, world.proc.open) == (True, False)
    assert world.supervisor.attached_boot_ns == world.now


def test_a_source_that_comes_back_and_fails_again_waits_longer():
    world = World().start()
    waits = []
    for _ in range(3):
        world.core.poll_error = PermanentError("gone")
        world.poll()
        assert world.supervisor.name == "bcc"
        fell = world.now
        world.core.poll_error = None
        while world.supervisor.return_to_better(world.now) is None:
            world.wait()
        waits.append(world.now - fell)
    assert waits == [30 * NS, 60 * NS, 120 * NS]
    world.now += PACE.return_longest_ns
    world.core.poll_error = PermanentError("gone")
    world.poll()
    fell = world.now
    world.core.poll_error = None
    while world.supervisor.return_to_better(world.now) is None:
        world.wait()
    assert world.now - fell == 30 * NS


def test_what_failed_for_good_before_it_ran_is_not_tried_again():
    world = World(core=PermanentError("no BTF"), bcc=TemporaryError("no memory")).start()
    assert world.supervisor.name == "proc"
    world.bcc.start_error = None
    world.now += 10**6 * NS
    assert world.supervisor.return_to_better(world.now).name == "bcc"
    world.now += 10**6 * NS
    assert world.supervisor.return_to_better(world.now) is None
    assert world.core.starts == 1


def test_where_nothing_else_starts_the_source_is_kept_and_tried_again():
    """All need descriptors; there are none."""
    world = World().start()
    world.core.poll_error = FULL
    world.bcc.start_error = world.proc.start_error = FULL
    assert world.fail(3 * FAILURES_BEFORE_FALLBACK) == []
    assert world.core.open
    world.core.poll_error = None
    while world.supervisor.problem is not None:
        assert world.poll() is None
        world.wait()
    assert world.supervisor.name == "core"


def test_a_broken_source_is_not_asked_again_while_no_other_starts():
    world = World().start()
    world.bcc.start_error = world.proc.start_error = FULL
    broken = PermanentError("its hooks no longer fire")
    assert world.supervisor.failed(broken, world.now) is None
    assert "no longer fire" in world.supervisor.problem
    for _ in range(3):
        world.wait()
        assert world.poll() is None
    assert world.core.polls == []
    world.proc.start_error = None
    while (change := world.poll()) is None:
        world.wait()
    assert (change.name, change.previous) == ("proc", "core")
    assert "no longer fire" in change.reason


def test_when_nothing_can_work_any_more_it_ends():
    world = World(bcc=PermanentError("no bcc")).start()
    world.core.poll_error = PermanentError("gone")
    world.proc.start_error = PermanentError("hidepid")
    with pytest.raises(PermanentError, match=r"core failed: gone; bcc .*no bcc; proc .*hidepid"):
        world.poll()


def test_a_bug_is_raised_as_it_is():
    world = World().start()
    world.core.poll_error = KeyError("bug")
    with pytest.raises(KeyError, match="bug"):
        world.poll()


def test_half_of_each_wait_is_random():
    for jitter, expected in ((0.0, [50, 100, 200, 250]), (1.0, [100, 200, 400, 500])):
        backoff = Backoff(100, 500, lambda jitter=jitter: jitter)
        assert [backoff.next_ns() for _ in range(4)] == expected
        backoff.reset()
        assert backoff.next_ns() == expected[0]


def test_a_minimum_age_holds_for_the_sources_that_follow():
    world = World(bcc=PermanentError("no bcc")).start()
    assert world.core.min_age_ns is None, "it was made with the one asked for"
    world.supervisor.set_min_age(3 * NS)
    assert world.core.min_age_ns == 3 * NS
    world.core.poll_error = FULL
    world.fail(FAILURES_BEFORE_FALLBACK)
    assert world.supervisor.name == "proc"
    assert world.proc.min_age_ns == 3 * NS
