"""The structs of bpf/tracer.h, as bytes. tests/test_wire.py compares the two through BTF."""

from struct import Struct
from typing import NamedTuple

COMM_LEN = 16
CGROUP_LEVELS = 16
CGROUP_NAME_LEN = 128

ORIGIN_INIT = 1
ORIGIN_SETNS = 2


class ZombieWire(NamedTuple):
    """struct zombie. Zero stands for unknown, as the header says for each field."""

    pid: int
    tracer_pid: int
    start_ticks: int
    parent_pid: int
    exit_parent_pid: int
    dead_since_ns: int
    start_ns: int
    exit_ns: int
    forker_start_ns: int
    cgroup_id: int
    cgroup_hierarchy: int
    forker_pid: int
    origin_pid: int
    origin: int
    vpid: int
    pid_namespace: int
    uid: int
    exit_status: int
    comm: bytes
    forker_comm: bytes


ZOMBIE = Struct("=2IQ2I5Q8I16s16s")

ZOMBIE_KEYS = Struct("=I4xQI4xQ96x")
"""The fields of a records.SnapshotKey, in its order: nothing is left to do in Python."""

ZOMBIE_CGROUP_KEYS = Struct("=I4xQI4xQ24xQI60x")
"""The same with cgroup_id and cgroup_hierarchy: a records.CgroupKey."""

SETTINGS = Struct("=QQQQ")
"""The program's constants: min_age_ns, settle_ns, tick_ns, watching."""


class GoneWire(NamedTuple):
    """struct gone."""

    start_ns: int
    gone_ns: int
    pid: int


GONE = Struct("=QQI4x")


class ProcessWire(NamedTuple):
    """struct process, what is kept of a process from fork to release."""

    start_ns: int
    exit_ns: int
    forker_start_ns: int
    exit_parent_start_ns: int
    cgroup_id: int
    last_wait_ns: int
    last_wait_any_ns: int
    first_seen_ns: int
    reaped_late_ns: int
    exec_ns: int
    task: int
    waits_any: int
    waits_specific: int
    last_wait_pid: int
    reaped: int
    reaped_late: int
    forker_pid: int
    exit_parent_pid: int
    origin_pid: int
    origin: int
    flags: int
    cgroup_hierarchy: int
    vpid: int
    pid_namespace: int
    uid: int
    exit_status: int
    pid: int
    exit_parent_key: int
    comm: bytes
    forker_comm: bytes


PROCESS = Struct("=11Q17I4x16s16s")

CGROUP_KEY = Struct("=QI4x")

CGROUP_NAMES = Struct("=I4x" + f"{CGROUP_NAME_LEN}s" * CGROUP_LEVELS)


class CountersWire(NamedTuple):
    """struct counters, summed over processors."""

    exits: int
    forks_lost: int
    map_full: int
    queue_full: int
    ring_full: int


COUNTERS = Struct("=5Q")


def text(raw: bytes) -> str:
    """Decode a name up to its first NUL; what follows can be rubbish (seen on 5.10)."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
