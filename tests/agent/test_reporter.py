"""Which events are emitted: filters, one reading of each zombie, storms before and after a restart."""

import errno
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from support.pods import container_id, pod
from support.records import NEVER, child
from support.zombies import start_ticks, zombies

from tracer.agent import summary
from tracer.agent.reporter import Reporter
from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS, TICK_NS, boot_ns
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.pod import parse_pod
from tracer.model import (
    Aged,
    Cgroup,
    CgroupOrigin,
    Child,
    Confidence,
    Detected,
    Identity,
    Reaped,
    Storm,
    StormChanged,
    StormPhase,
    Zombie,
)
from tracer.model.event import EventName
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup

POD = pod("web", containers=("app",))
UID = POD["metadata"]["uid"]
PATH = f"/kubepods/pod{UID}/{container_id(UID, 'app', 0)}"
CGROUP = Cgroup(PATH, CgroupOrigin.KERNEL)
DEAD = child(2_000_000_001, cgroup=CGROUP)
NOBODY = Identity(2_000_000_000, 7)
"""A process that has died: no machine has so many pids."""


@pytest.fixture
def index():
    return PodIndex()


class Events(list):
    """A sink that keeps what it gets."""

    emit = list.append


class Found:
    """An investigator that finds what it is given, and keeps the views it gets."""

    parent = waits = cause = None

    def __init__(self, **found):
        self.__dict__ |= found
        self.views = []

    def investigate(self, zombie, attribution, now_boot_ns, siblings, view):
        self.views.append(view)
        return self


def reporter(
    index,
    events,
    *,
    investigator=None,
    proc=None,
    command_lines=False,
    siblings=lambda _: 1,
    **filters,
):
    proc = proc or ProcFs(Path("/proc"))
    return Reporter(
        proc=proc,
        attributor=Attributor(partial(read_cgroup, proc), index, None),
        filters=Filters(**filters),
        investigator=investigator or Found(),
        sink=events,
        siblings=siblings,
        command_lines=command_lines,
    )


@pytest.mark.parametrize(("name", "lines"), [("web", 1), ("other", 0)])
def test_a_reaping_after_a_restart_is_reported_though_its_pod_was_not_known_at_first(
    index, name, lines
):
    """The agent before reported it; at the start of this one the watch has shown nothing yet."""
    events = Events()
    reports = reporter(index, events, pods=frozenset({name}))
    zombie = Zombie(DEAD, boot_ns(), boot_ns())
    reports.restore(zombie, boot_ns())
    index.apply(parse_pod(POD))
    reports.report([Reaped(zombie, boot_ns(), NS)], boot_ns())
    assert [event.name for event in events] == [EventName.ZOMBIE_REAPED] * lines
    assert all(event.record.attribution.workload.pod == "web" for event in events)


def test_siblings_are_those_at_the_time_of_the_line(index):
    """When the table detected it, others that died at the same moment were still to come."""
    events = Events()
    zombie = Zombie(DEAD, boot_ns(), boot_ns(), siblings=0)
    table = {DEAD.parent_pid: 400}
    reports = reporter(index, events, siblings=table.__getitem__)
    reports.report([Detected(zombie)], boot_ns())
    assert [event.record.zombie.siblings for event in events] == [399]


def test_a_zombie_that_breaks_the_diagnosis_is_reported_without_a_cause(index):
    class Breaks:
        def investigate(self, *_):
            raise ValueError("odd")

    events = Events()
    reports = reporter(index, events, investigator=Breaks())
    reports.report([Detected(Zombie(DEAD, boot_ns(), boot_ns()))], boot_ns())
    [event] = events
    assert (event.name, event.record.cause) == (EventName.ZOMBIE_DETECTED, None)


@pytest.mark.parametrize("lives", [True, False])
def test_a_parent_that_lives_when_its_zombie_goes_has_reaped_it(index, lives):
    """Then the cause is no longer certain; if the parent died before, it stays."""
    parent = ProcFs(Path("/proc")).process(os.getpid())
    if not lives:
        parent = replace(parent, identity=Identity(os.getpid(), 1))
    certain = Found(parent=parent, cause=replace(NEVER, confidence=Confidence.CERTAIN))
    events = Events()
    reports = reporter(index, events, investigator=certain)
    zombie = Zombie(DEAD, boot_ns(), boot_ns())
    reports.report([Detected(zombie), Reaped(zombie, boot_ns(), 30 * NS)], boot_ns())
    detected, reaped = (event.record.cause for event in events)
    assert detected.confidence is Confidence.CERTAIN
    assert reaped.code is detected.code
    assert (reaped.confidence is Confidence.POSSIBLE) == lives
    assert ("reaped it 30 s after it exited" in reaped.evidence[0]) == lives


class CountingProc(ProcFs):
    """A /proc that lists what is read of it."""

    def __init__(self):
        super().__init__()
        self.names = []

    def read(self, name):
        self.names.append(name)
        return super().read(name)


def of(pid, parent_pid, **changes):
    ticks = start_ticks(pid)
    return Zombie(Child(Identity(pid, ticks), parent_pid, ticks * TICK_NS, **changes), 1, 1)


@pytest.mark.kernel
@pytest.mark.parametrize("transition", [Detected, lambda zombie: Aged(zombie, 60 * NS)])
def test_a_zombie_is_read_once_per_transition(index, transition):
    """And its parent is the one of now, whatever the source saw at its death."""
    with zombies(1) as family:
        [pid] = family.pids
        proc, events, found = CountingProc(), Events(), Found()
        reports = reporter(index, events, investigator=found, proc=proc)
        reports.report([transition(of(pid, 4_000_000, cgroup=CGROUP))], boot_ns())
        read = [name for name in proc.names if name.startswith(f"{pid}/")]
        assert sorted(read) == [f"{pid}/cgroup", f"{pid}/stat", f"{pid}/status"]
        [event], [view] = events, found.views
        assert view.stat.start_ticks == start_ticks(pid)
        assert event.record.zombie.child.parent_pid == view.stat.ppid == family.parent_pid


class Full(ProcFs):
    """The real /proc, which cannot be read while there is no descriptor left.

    Attributes:
        reads: how many more reads succeed.
    """

    reads = 0

    def read(self, name):
        self.reads -= 1
        if self.reads < 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().read(name)


@pytest.mark.kernel
@pytest.mark.parametrize("transition", ["detected", "aged", "reaped", "released"])
def test_what_cannot_be_read_now_can_be_reported_again(index, transition):
    """Whichever read fails: nothing is emitted, nothing is forgotten, and then it is reported."""
    index.expecting = transition == "released"
    if transition != "released":
        index.apply(parse_pod(POD))
    proc = Full()
    with zombies(1) as family:
        zombie = of(family.pids[0], family.parent_pid, cgroup=CGROUP)
        events = Events()
        proc.reads = 1000
        reports = reporter(index, events, proc=proc)
        if transition != "detected":
            reports.report([Detected(zombie)], boot_ns())
        before = len(events)
        assert before == (transition in ("aged", "reaped"))

        def report():
            match transition:
                case "detected":
                    reports.report([Detected(zombie)], boot_ns())
                case "aged":
                    reports.report([Aged(zombie, 60 * NS)], boot_ns())
                case "reaped":
                    reports.report([Reaped(zombie, boot_ns(), 2 * NS)], boot_ns())
                case "released":
                    reports.release(boot_ns(), everything=True)

        failures = 0
        while True:
            proc.reads = failures
            try:
                report()
            except OSError:
                failures += 1
                assert len(events) == before
            else:
                break
    assert len(events) == before + 1
    assert failures >= (transition != "reaped")
    if transition != "released":
        assert events[-1].record.attribution.workload.pod == "web"


@pytest.mark.kernel
def test_the_command_line_is_that_of_the_parent_and_of_no_later_process(index):
    with zombies(1) as family:
        parent = ProcFs().process(family.parent_pid)
        earlier = replace(parent, identity=parent.identity._replace(start_ticks=1))
        shown = []
        for found in (Found(parent=parent), Found(parent=earlier)):
            events = Events()
            reports = reporter(index, events, investigator=found, command_lines=True)
            reports.report([Detected(of(family.pids[0], family.parent_pid))], boot_ns())
            shown += [event.record.command_line for event in events]
    assert shown[0]
    assert shown[1] is None


def storm(parent, samples=(), phase=StormPhase.ONGOING, zombies=300):
    return Storm(parent, phase, zombies, 300, 0, 0.0, NS, tuple(samples), 1)


def groups(reports, *storms):
    """Count as the engine does, for the metrics and by_namespace."""
    facts = ((each, reports.storm_facts(each.parent)) for each in storms)
    known = [(each, found) for each, found in facts if found is not None]
    return summary.groups(reports.records(), known, boot_ns())


@pytest.mark.parametrize("filters", [{}, {"namespaces": frozenset({"example"})}])
@pytest.mark.parametrize("lives", [True, False])
def test_a_restored_storm_is_counted_at_once(index, filters, lives):
    """Also when its parent is gone, and before the storm's next report."""
    own = Identity(os.getpid(), start_ticks(os.getpid()))
    parent = own if lives else NOBODY
    reports = reporter(index, Events(), **filters)
    reports.restore_storm(parent, "bash", CGROUP, NEVER)
    index.apply(parse_pod(POD))
    [group] = groups(reports, storm(parent))
    assert (group.namespace, group.pod, group.container) == ("example", "web", "app")
    assert (group.zombies, group.cause) == (300, NEVER.code.value)
    facts = reports.storm_facts(parent)
    assert facts.parent_gone is not lives
    assert facts.parent.identity == parent


def test_a_restored_storm_that_the_filters_reject_is_not_counted(index):
    index.apply(parse_pod(POD))
    reports = reporter(index, Events(), namespaces=frozenset({"other"}))
    reports.restore_storm(NOBODY, "bash", CGROUP, NEVER)
    assert groups(reports, storm(NOBODY)) == ()


def test_a_restored_storm_of_an_unknown_cgroup_is_counted_outside_pods(index):
    """Its zombies were in several: the pod of its parent is not theirs."""
    reports = reporter(index, Events())
    reports.restore_storm(NOBODY, None, None, None)
    [group] = groups(reports, storm(NOBODY))
    assert (group.namespace, group.zombies) == (None, 300)


@pytest.mark.kernel
def test_a_storm_in_several_pods_is_attributed_to_none(index):
    """Pods that share a PID namespace: one parent has zombies of both."""
    other = pod("api", containers=("app",))
    uid = other["metadata"]["uid"]
    path = f"/kubepods/pod{uid}/{container_id(uid, 'app', 0)}"
    for each in (POD, other):
        index.apply(parse_pod(each))
    with zombies(2) as family:
        parent = Identity(family.parent_pid, start_ticks(family.parent_pid))
        mine, theirs = (
            of(pid, parent.pid, cgroup=Cgroup(where, CgroupOrigin.KERNEL))
            for pid, where in zip(family.pids, (PATH, path), strict=True)
        )
        for samples, names in (
            ([mine], {"web"}),
            ([mine, theirs], {None}),
            ([theirs, mine], {None}),
        ):
            events = Events()
            reports = reporter(index, events)
            reports.report([StormChanged(storm(parent, samples))], boot_ns())
            [event] = events
            workload = event.storm.attribution.workload
            assert {None if workload is None else workload.pod} == names
            assert {group.pod for group in groups(reports, storm(parent))} == names
            for name, lines in (("web", 1), ("elsewhere", 0)):
                events = Events()
                reports = reporter(index, events, pods=frozenset({name}))
                reports.report([StormChanged(storm(parent, samples))], boot_ns())
                assert len(events) == lines, "one of its pods is wanted"


@pytest.mark.kernel
def test_a_storm_s_line_does_not_mix_two_processes(index):
    """The parent has died; another process, here pid 1's place, has its pid or its zombies."""
    with zombies(2) as family:
        sample = of(family.pids[0], family.parent_pid)
        live = Identity(family.parent_pid, start_ticks(family.parent_pid))
        dead = Identity(family.parent_pid, live.start_ticks - 1)
        events = Events()
        investigator = Found(parent=ProcFs().process(live.pid), cause=NEVER)
        reports = reporter(index, events, investigator=investigator)
        reports.restore_storm(dead, "gone", None, NEVER)
        for phase in (StormPhase.ONGOING, StormPhase.DRAINED):
            reports.report([StormChanged(storm(dead, [sample], phase))], boot_ns())
        reports.report([StormChanged(storm(live, [sample], StormPhase.BEGAN))], boot_ns())
    ongoing, drained, began = (event.storm for event in events)
    for context in (ongoing, drained):
        assert (context.parent.identity, context.parent.comm) == (dead, "gone")
        assert context.parent_gone
    assert ongoing.cause is None, "the cause of then is not that of the process that has them now"
    assert drained.cause == NEVER
    assert began.parent.identity == live
    assert not began.parent_gone
