"""The budgets of lines: a burst, a rate, bounded memory, and nobody uses up another's."""

import pytest
from support import records as made

from tracer.clock import NS
from tracer.model import Attribution, Cgroup, CgroupOrigin, Container, Identity, Workload
from tracer.model.event import EventName
from tracer.sinks import budget
from tracer.sinks.budget import LineBudgets, LogBudget
from tracer.sinks.fair_queue import Place
from tracer.sinks.owner import LineOwner, Names, names_of, owner_of


class Clock:
    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def forward(self, seconds):
        self.now += int(seconds * NS)


@pytest.fixture
def clock():
    return Clock()


def pod(name):
    return LineOwner("pod", name)


def granted(budgets, owner, lines, **options):
    return sum(budgets.take(owner, **options) for _ in range(lines))


def test_a_burst_then_a_rate(clock):
    budgets = LineBudgets(LogBudget(1000, 20), clock)
    assert granted(budgets, pod("a"), 5000) == 1000
    clock.forward(1)
    assert granted(budgets, pod("a"), 5000) == 20
    clock.forward(0.05)
    assert granted(budgets, pod("a"), 5) == 1
    clock.forward(3600)
    assert granted(budgets, pod("a"), 5000) == 1000, "what is not used does not pile up"


def test_each_pod_has_its_own(clock):
    budgets = LineBudgets(LogBudget(10, 1), clock)
    assert granted(budgets, pod("a"), 100) == 10
    assert granted(budgets, pod("b"), 100) == 10


def test_a_line_that_stands_for_many_zombies_may_overdraw(clock):
    budgets = LineBudgets(LogBudget(100, 1), clock)
    assert granted(budgets, pod("a"), 1000) == 100
    assert granted(budgets, pod("a"), 1000, overdraw=True) == 10
    assert granted(budgets, pod("a"), 1000) == 0


def test_memory_is_bounded_and_a_full_budget_is_what_is_forgotten(clock, monkeypatch):
    monkeypatch.setattr(budget, "OTHERS", 10)
    budgets = LineBudgets(LogBudget(5, 1), clock)
    units = [LineOwner("unit", f"run-{number}.scope") for number in range(1000)]
    assert granted(budgets, units[0], 100) == 5
    assert sum(budgets.take(unit) for unit in units[1:]) == 9 + 5, "the others share one"
    assert len(budgets) == 11
    assert granted(budgets, pod("a"), 100) == 5, "a pod does not depend on them"
    clock.forward(2)
    assert granted(budgets, units[0], 100) == 2, "it was not forgotten, and not filled up"
    clock.forward(60)
    assert granted(budgets, units[999], 100) == 5
    assert len(budgets) <= 12


def attributed(attribution, **changes):
    return owner_of(made.event(of=made.record(attribution=attribution, **changes)))


def test_who_owns_a_line():
    cgroup = Cgroup("/../custom/x", CgroupOrigin.KERNEL)
    container = Container("ab" * 32, "docker")
    assert attributed(made.POD) == pod("b5b4bd95-0000")
    assert attributed(Attribution(container=Container(None, config_hash="c0"))) == pod("c0")
    assert attributed(Attribution(workload=Workload("n", "p", None))) == pod("n/p")
    assert attributed(Attribution(container=container)) == LineOwner("container", "ab" * 32)
    assert attributed(made.HOST) == LineOwner("unit", "cron.service")
    assert attributed(Attribution(cgroup=cgroup)) == LineOwner("cgroup", "custom")
    parent = made.process()
    assert attributed(Attribution(), parent=parent) == LineOwner("parent", parent.identity)
    assert attributed(Attribution(), parent=None) == LineOwner("parent", Identity(1_296_034, 0))


def test_a_pods_budget_does_not_depend_on_whether_its_name_is_known():
    nameless = Attribution(container=made.POD.container)
    assert attributed(nameless) == attributed(made.POD) == owner_of(made.storm())


def test_the_agents_own_lines_have_their_places():
    for event in made.other_events():
        last = event.name is EventName.AGENT_STOPPED
        assert owner_of(event) is (Place.LAST if last else Place.FIRST)
        assert names_of(event) == Names(None, None)
    assert names_of(made.storm()) == Names("example", "pod-with-a-zombie-mtf8f")
