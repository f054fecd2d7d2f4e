"""The types that cross the boundaries between source, table, report and sinks.

Everything here is immutable. Times are CLOCK_BOOTTIME nanoseconds (`*_boot_ns`),
durations in nanoseconds (`*_ns`) or seconds (`*_seconds`). Unknown is None, never 0.
"""

from tracer.model.cause import BlockedWait, Cause, CauseCode, Confidence, Evidence, WaitFor
from tracer.model.child import (
    CgroupKey,
    Child,
    Gone,
    ListSnapshot,
    Observation,
    Snapshot,
    SnapshotKey,
    merge,
)
from tracer.model.process import (
    UNKNOWN_TICKS,
    Cgroup,
    CgroupOrigin,
    Forker,
    Identity,
    OriginKind,
    Process,
    Waits,
)
from tracer.model.source import Losses, Source
from tracer.model.storm import Storm, StormFacts, StormPhase
from tracer.model.transition import Aged, Detected, Reaped, StormChanged, Transition
from tracer.model.workload import Attribution, Container, Owner, Probe, Workload, WorkloadSource
from tracer.model.zombie import Record, Zombie

__all__ = [
    "UNKNOWN_TICKS",
    "Aged",
    "Attribution",
    "BlockedWait",
    "Cause",
    "CauseCode",
    "Cgroup",
    "CgroupKey",
    "CgroupOrigin",
    "Child",
    "Confidence",
    "Container",
    "Detected",
    "Evidence",
    "Forker",
    "Gone",
    "Identity",
    "ListSnapshot",
    "Losses",
    "Observation",
    "OriginKind",
    "Owner",
    "Probe",
    "Process",
    "Reaped",
    "Record",
    "Snapshot",
    "SnapshotKey",
    "Source",
    "Storm",
    "StormChanged",
    "StormFacts",
    "StormPhase",
    "Transition",
    "WaitFor",
    "Waits",
    "Workload",
    "WorkloadSource",
    "Zombie",
    "merge",
]
