"""Evidence for diagnoses, made by hand."""

from dataclasses import replace

from tracer.clock import NS, TICK_NS
from tracer.model import (
    Attribution,
    Child,
    Evidence,
    Forker,
    Identity,
    OriginKind,
    Owner,
    Probe,
    Process,
    Waits,
    Workload,
)

NOW = 10_000 * NS
BORN = NOW - 100 * NS
DIED = NOW - 12 * NS
PARENT = Process(
    Identity(500, BORN // TICK_NS), "worker", "S", 1, vpid=500, path="/app/worker", session=500
)
INIT = replace(PARENT, vpid=1)
SELF_FORKED = Forker(PARENT.identity, "worker")
STRANGER = Forker(Identity(77, 99), "passing")


def waits(
    any_=0, specific=0, *, last=None, last_any=None, wanted=None, reaped=0, late=0, late_ns=0
):
    return Waits(any_, specific, last, last_any, wanted, reaped, late, late_ns, BORN)


def evidence(*, child=None, **changes):
    """A zombie of 12 s whose parent was watched since its birth and forked it itself."""
    zombie = Child(
        Identity(600, 0),
        500,
        DIED - NS,
        exit_boot_ns=DIED,
        exit_status=0,
        comm="job",
        exit_parent_pid=500,
        forker=SELF_FORKED,
    )
    base = Evidence(
        now_boot_ns=NOW,
        child=replace(zombie, **(child or {})),
        parent=PARENT,
        waits=waits(),
        attached_boot_ns=BORN - NS,
        age_ns=NOW - DIED,
        session=500,
        group=500,
        exit_signal=17,
        forker_alive=True,
        pid_in_parent=600,
    )
    return replace(base, **changes)


def adopted(**changes):
    parent = changes.pop("parent", INIT)
    child = {"forker": STRANGER, "origin": changes.pop("origin", OriginKind.INIT)}
    return evidence(child=child, parent=parent, forker_alive=False, **changes)


WORKLOAD = Workload(
    "shop",
    "cart-7d4f-x",
    "uid",
    container="app",
    owner=Owner("Deployment", "cart"),
    command_replaced=True,
    probes=(Probe("livenessProbe", ("/bin/check", "-v"), 10, 1),),
)


def in_pod(given, workload=WORKLOAD):
    """The same, of a zombie in a pod."""
    return replace(given, attribution=Attribution(workload=workload))
