"""Reports that fail for a while: none is lost, none is doubled, nobody waits for another."""

import errno

import pytest
from support.records import child

from tracer.agent.backoff import Backoff
from tracer.agent.report_queue import ReportQueue
from tracer.clock import NS
from tracer.model import Aged, Detected, Reaped, Zombie


class Reporter:
    """Reports what it can: not those of these pids."""

    def __init__(self):
        self.reported = []
        self.failing = set()
        self.error = OSError(errno.ENOMEM, "Cannot allocate memory")
        self.held = None

    def report(self, transitions, now_boot_ns):
        for transition in transitions:
            pid = transition.zombie.child.identity.pid
            if pid in self.failing:
                raise self.error
            self.reported.append((type(transition).__name__, pid))

    def release(self, now_boot_ns, *, everything=False):
        if self.held is not None:
            raise self.held


def zombie(pid):
    return Zombie(child(pid), 0, 0)


@pytest.fixture
def reporter():
    return Reporter()


@pytest.fixture
def queue(reporter):
    return ReportQueue(reporter, Backoff(NS, 4 * NS, lambda: 1.0))


def test_a_temporary_error_delays_one_zombie_and_keeps_its_order(queue, reporter):
    reporter.failing = {1}
    queue.report([Detected(zombie(1)), Detected(zombie(2))], 0)
    reporter.failing = set()
    queue.report([Aged(zombie(1), 60 * NS), Reaped(zombie(1), 1, 1), Detected(zombie(3))], 0)
    assert reporter.reported == [("Detected", 2), ("Detected", 3)]
    assert len(queue) == 3
    assert "Cannot allocate memory" in queue.problem
    assert queue.next_due_boot_ns() == NS
    queue.release(NS - 1)
    assert len(queue) == 3
    queue.release(NS)
    assert reporter.reported[2:] == [("Detected", 1), ("Aged", 1), ("Reaped", 1)]
    assert (len(queue), queue.problem, queue.next_due_boot_ns()) == (0, None, None)


def test_it_is_tried_again_ever_less_often_until_it_works(queue, reporter):
    reporter.failing = {1}
    now, dues = 0, []
    queue.report([Detected(zombie(1))], now)
    for _ in range(5):
        dues.append(queue.next_due_boot_ns() - now)
        now = queue.next_due_boot_ns()
        queue.release(now)
    assert dues == [NS, 2 * NS, 4 * NS, 4 * NS, 4 * NS]
    reporter.failing = set()
    queue.release(queue.next_due_boot_ns())
    assert reporter.reported == [("Detected", 1)]
    reporter.failing = {2}
    queue.report([Detected(zombie(2))], now)
    assert queue.next_due_boot_ns() == now + NS


def test_the_end_waits_for_nothing(queue, reporter):
    reporter.failing = {1}
    queue.report([Detected(zombie(1))], 0)
    reporter.failing = set()
    queue.release(1, everything=True)
    assert reporter.reported == [("Detected", 1)]


def test_detections_that_wait_for_their_pod_are_released_later_too(queue, reporter):
    reporter.held = OSError(errno.EMFILE, "Too many open files")
    queue.release(0)
    assert "Too many open files" in queue.problem
    reporter.held = None
    queue.release(queue.next_due_boot_ns())
    assert queue.problem is None


@pytest.mark.parametrize("error", [ValueError("bug"), OSError(errno.ENOTTY, "Not a tty")])
def test_any_other_error_is_raised(queue, reporter, error):
    reporter.failing, reporter.error = {1}, error
    with pytest.raises(type(error)):
        queue.report([Detected(zombie(1))], 0)
