"""Which lines of zombies are told: filters by name, and a diagnosis that breaks."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.pods import container_id, pod
from support.records import NEVER, child

from tracer.agent.reporter import Reporter
from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS, boot_ns
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.pod import parse_pod
from tracer.model import (
    Cgroup,
    CgroupOrigin,
    Confidence,
    Detected,
    Identity,
    Reaped,
    Zombie,
)
from tracer.model.event import EventName
from tracer.procfs.fs import ProcFs

POD = pod("web", containers=("app",))
UID = POD["metadata"]["uid"]
PATH = f"/kubepods/pod{UID}/{container_id(UID, 'app', 0)}"
DEAD = child(2_000_000_001, cgroup=Cgroup(PATH, CgroupOrigin.KERNEL))


@pytest.fixture
def index():
    return PodIndex()


def reporter(index, told, **filters):
    proc = ProcFs(Path("/proc"))
    return Reporter(
        proc=proc,
        attributor=Attributor(proc.cgroup, index, None),
        filters=Filters(**filters),
        emit=told.append,
        siblings=lambda _: 1,
    )


@pytest.mark.parametrize(("name", "lines"), [("web", 1), ("other", 0)])
def test_a_reaping_after_a_restart_is_told_though_its_pod_was_not_known_at_first(
    index, name, lines
):
    """The agent before told of it; at the start of this one the watch has shown nothing yet."""
    told = []
    tells = reporter(index, told, pods=frozenset({name}))
    zombie = Zombie(DEAD, boot_ns(), boot_ns())
    tells.restore(zombie, boot_ns())
    index.apply(parse_pod(POD))
    tells.tell([Reaped(zombie, boot_ns(), NS)], boot_ns())
    assert [event.name for event in told] == [EventName.ZOMBIE_REAPED] * lines
    assert all(event.record.attribution.workload.pod == "web" for event in told)


def test_a_zombie_that_breaks_the_diagnosis_is_told_without_a_cause(index):
    def breaks(*_):
        raise ValueError("odd")

    told = []
    tells = reporter(index, told)
    tells.investigate = breaks
    tells.tell([Detected(Zombie(DEAD, boot_ns(), boot_ns()))], boot_ns())
    [event] = told
    assert (event.name, event.record.cause) == (EventName.ZOMBIE_DETECTED, None)


@pytest.mark.parametrize("lives", [True, False])
def test_a_parent_that_lives_when_its_zombie_goes_has_reaped_it(index, lives):
    """What was certain of it is so no more; of one that died before, it stays."""
    parent = ProcFs(Path("/proc")).process(os.getpid())
    if not lives:
        parent = replace(parent, identity=Identity(os.getpid(), 1))

    class Finding:
        waits = None
        cause = replace(NEVER, confidence=Confidence.CERTAIN)

    Finding.parent = parent
    told = []
    tells = reporter(index, told)
    tells.investigate = lambda *_: Finding
    zombie = Zombie(DEAD, boot_ns(), boot_ns())
    tells.tell([Detected(zombie), Reaped(zombie, boot_ns(), 30 * NS)], boot_ns())
    detected, reaped = (event.record.cause for event in told)
    assert detected.confidence is Confidence.CERTAIN
    assert reaped.code is detected.code
    assert (reaped.confidence is Confidence.POSSIBLE) == lives
    assert ("reaped it 30 s after it exited" in reaped.evidence[0]) == lives
