"""Which lines of zombies are told: filters by name, and a diagnosis that breaks."""

from pathlib import Path

import pytest
from support.pods import container_id, pod
from support.records import child

from tracer.clock import NS, boot_ns
from tracer.events import EventName
from tracer.filters import Filters
from tracer.identity import Attributor
from tracer.kubernetes.pod import parse_pod
from tracer.kubernetes.podindex import PodIndex
from tracer.procfs import ProcFs
from tracer.records import Cgroup, CgroupOrigin, Detected, Reaped, Zombie
from tracer.telling import Teller

POD = pod("web", containers=("app",))
UID = POD["metadata"]["uid"]
PATH = f"/kubepods/pod{UID}/{container_id(UID, 'app', 0)}"
DEAD = child(2_000_000_001, cgroup=Cgroup(PATH, CgroupOrigin.KERNEL))


@pytest.fixture
def index():
    return PodIndex()


def teller(index, told, **filters):
    proc = ProcFs(Path("/proc"))
    return Teller(
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
    tells = teller(index, told, pods=frozenset({name}))
    zombie = Zombie(DEAD, boot_ns(), boot_ns())
    tells.recall(zombie, boot_ns())
    index.apply(parse_pod(POD))
    tells.tell([Reaped(zombie, boot_ns(), NS)], boot_ns())
    assert [event.name for event in told] == [EventName.ZOMBIE_REAPED] * lines
    assert all(event.record.attribution.workload.pod == "web" for event in told)


def test_a_zombie_that_breaks_the_diagnosis_is_told_without_a_cause(index):
    def breaks(*_):
        raise ValueError("odd")

    told = []
    tells = teller(index, told)
    tells.investigate = breaks
    tells.tell([Detected(Zombie(DEAD, boot_ns(), boot_ns()))], boot_ns())
    [event] = told
    assert (event.name, event.record.cause) == (EventName.ZOMBIE_DETECTED, None)
