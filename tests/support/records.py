"""Made-up records for rendering: the zombie of the contract's example, and others."""

from dataclasses import replace

from tracer.clock import NS, TICK_NS
from tracer.model import (
    Attribution,
    Cause,
    CauseCode,
    Cgroup,
    CgroupOrigin,
    Child,
    Confidence,
    Container,
    Forker,
    Identity,
    Owner,
    Process,
    Record,
    Storm,
    StormPhase,
    Waits,
    Workload,
    Zombie,
)
from tracer.model.event import Event, EventName, StormContext

NODE = "worker-1"
NOW = 5_000 * NS
"""The moment of the events, boot clock."""
TO_WALL_NS = 1_795_341_942_123_456_789 - NOW
"""Makes NOW 2026-11-22T10:05:42.123456Z."""

POD = Attribution(
    cgroup=Cgroup("/kubepods.slice/pod1/cri-containerd-0123.scope", CgroupOrigin.KERNEL),
    container=Container(id="0123456789abcdef" * 4, runtime="containerd", pod_uid="b5b4bd95-0000"),
    workload=Workload(
        namespace="example",
        pod="pod-with-a-zombie-mtf8f",
        pod_uid="b5b4bd95-0000",
        container="zombie-container",
        image="docker.io/archlinux:base-devel",
        restart_count=0,
        owner=Owner("Job", "pod-with-a-zombie"),
    ),
)
HOST = Attribution(
    cgroup=Cgroup("/system.slice/cron.service", CgroupOrigin.KERNEL), unit="cron.service"
)
NEVER = Cause(
    CauseCode.PARENT_NEVER_WAITS,
    Confidence.CERTAIN,
    ("bash (pid 1296034) forked it", "it has waited for no child since 10:05:31"),
    "Let the program wait for its children, or run it below an init such as tini that does.",
)


def identity(pid: int, now_boot_ns: int = NOW) -> Identity:
    """Give the process of that pid a start time of its own, between boot and now."""
    now_ticks = now_boot_ns // TICK_NS
    return Identity(pid, now_ticks * 4 // 5 + pid % 1000 * now_ticks // 500_000)


def child(
    pid: int = 1_296_039, parent: int = 1_296_034, *, now_boot_ns: int = NOW, **changes
) -> Child:
    """Make a dead child that exited 10.02 s before now, if the machine was up by then.

    Where real clocks and processes take part, `now_boot_ns` is boot_ns(): a time that is
    made up for NOW lies in the future of a machine that has just booted.
    """
    who = identity(pid, now_boot_ns)
    start_boot_ns = who.start_ticks * TICK_NS
    made = Child(
        identity=who,
        parent_pid=parent,
        start_boot_ns=start_boot_ns,
        exit_boot_ns=max(start_boot_ns, now_boot_ns - 10_020_000_000),
        exit_status=0,
        vpid=2,
        pid_namespace=4_026_532_000,
        uid=1234,
        comm="zombie-1",
        exit_parent_pid=parent,
        forker=Forker(identity(parent, now_boot_ns), "bash"),
    )
    return replace(made, **changes)


def process(pid: int = 1_296_034, **changes) -> Process:
    """Make a living parent: a bash that is pid 1."""
    made = Process(
        identity=identity(pid),
        comm="bash",
        state="S",
        parent_pid=1000,
        vpid=1,
        path="/usr/bin/bash",
    )
    return replace(made, **changes)


def record(dead: Child | None = None, **changes) -> Record:
    """Make the record of the contract's example."""
    dead = child() if dead is None else dead
    first_seen = NOW - 10 * NS
    zombie = Zombie(dead, first_seen_boot_ns=first_seen, detected_boot_ns=NOW, siblings=9)
    made = Record(
        zombie=zombie,
        age_ns=zombie.age_ns(NOW),
        parent=process(),
        waits=Waits(0, 0, None, None, None, 0, 0, 0, NOW - 60 * NS),
        attribution=POD,
        cause=NEVER,
    )
    return replace(made, **changes)


def event(name: EventName = EventName.ZOMBIE_DETECTED, of: Record | None = None) -> Event:
    """Make an event about a zombie at NOW."""
    return Event(name, NOW, record=record() if of is None else of)


def storm(phase: StormPhase = StormPhase.ONGOING, **changes) -> Event:
    """Make a storm's event."""
    made = Storm(
        parent=identity(1_296_034),
        phase=phase,
        zombies=300_000,
        detected=300_123,
        reaped=123,
        rate_per_second=1234.5678,
        oldest_age_ns=187 * NS,
        samples=tuple(Zombie(child(pid), first_seen_boot_ns=NOW - NS) for pid in (2001, 2002)),
        began_boot_ns=NOW - 200 * NS,
    )
    made = replace(made, **changes)
    return Event(EventName.ZOMBIE_STORM, NOW, storm=StormContext(made, process(), POD, NEVER))


def other_events() -> list[Event]:
    """Make one of each event that brings its own fields, as the engine does."""
    return [
        Event(
            EventName.AGENT_STARTED,
            NOW,
            fields={"source": {"name": "core", "reason": "BTF and CAP_BPF are here"}},
        ),
        Event(
            EventName.SOURCE_CHANGED,
            NOW,
            fields={"source": {"name": "proc", "reason": "core: map is gone", "previous": "core"}},
        ),
        Event(
            EventName.PIDS_PRESSURE,
            NOW,
            fields={
                "pids": {
                    "scope": "pod",
                    "used": 900,
                    "limit": 1000,
                    "zombies": 850,
                    "zombie_share": 0.944,
                    "growth_per_second": 1.5,
                    "seconds_to_exhaustion": 66.7,
                },
                "k8s": {"namespace": {"name": "example"}, "pod": {"name": "p", "uid": None}},
            },
        ),
        Event(
            EventName.SUMMARY,
            NOW,
            fields={
                "zombies": {
                    "now": 12,
                    "detected": 20,
                    "reaped": 0,
                    "by_namespace": [{"name": "example", "zombies": 12}],
                },
                "lost": {"map_full": 0, "sink": 3},
            },
        ),
        Event(EventName.AGENT_STOPPED, NOW, fields={"source": {"name": "core", "reason": None}}),
    ]


def kubernetes_changed() -> Event:
    """Make the event of an API server that cannot be reached."""
    kubernetes = {
        "up": False,
        "error": "connection refused",
        "since": "2026-11-22T10:05:42.123456Z",
        "fallback": "pod names come from the node's log folders",
    }
    return Event(EventName.KUBERNETES_CHANGED, NOW, fields={"kubernetes": kubernetes})
