"""The structs of bpf/tracer.h, as bytes. tests/sources/core/test_wire.py compares them by BTF.

Zero stands for unknown, as the header says for each field. The fields of nested structs
follow each other here as they do in memory.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from tracer.clock import TICK_NS

COMM_LEN = 16
CGROUP_LEVELS = 16
CGROUP_NAME_LEN = 128
START_SHIFT = 24

ORIGIN_INIT = 1
ORIGIN_SETNS = 2

RECORD_ZOMBIE = 1
RECORD_GONE = 2
RECORD_YOUNG = 3

CONSTANTS = Struct("=QQQ")
"""The program's constants: settle_ns, recheck_ns, tick_ns."""

SETTINGS = Struct("=Q")
"""What can change while it runs: min_age_ns."""

_BIRTH = "Q3I4x16s"
_FACTS = "Q5I4x16s"


class ZombieWire(NamedTuple):
    """struct zombie."""

    pid: int
    tracer_pid: int
    start_ticks: int
    parent_pid: int
    exit_parent_pid: int
    dead_since_ns: int
    start_ns: int
    exit_ns: int
    forker_start_ns: int
    forker_pid: int
    origin_pid: int
    origin: int
    forker_comm: bytes
    cgroup_id: int
    cgroup_hierarchy: int
    vpid: int
    pid_namespace: int
    uid: int
    exit_status: int
    comm: bytes


ZOMBIE = Struct(f"=2IQ2I3Q{_BIRTH}{_FACTS}")

ZOMBIE_KEYS = Struct(f"=I4xQI4xQ{ZOMBIE.size - 32}x")
"""The fields of a SnapshotKey, in its order: nothing is left to do in Python."""

ZOMBIE_CGROUP_KEYS = Struct(f"=I4xQI4xQ56xQI{ZOMBIE.size - 100}x")
"""The same with cgroup_id and cgroup_hierarchy: a CgroupKey."""

HEADER = Struct("=I4x")
"""struct record_header: the type of a record in the ring buffer."""


class GoneWire(NamedTuple):
    """struct gone_record, behind its header."""

    start_ns: int
    gone_ns: int
    pid: int


GONE = Struct("=QQI4x")


class ProcessWire(NamedTuple):
    """struct process, what is kept of a process from fork to release."""

    start_ns: int
    pid: int
    known: int
    facts_read: int
    gone: int
    release_checks: int
    forker_start_ns: int
    forker_pid: int
    origin_pid: int
    origin: int
    forker_comm: bytes
    exec_ns: int
    last_wait_ns: int
    last_wait_any_ns: int
    reaped_late_ns: int
    waits_any: int
    waits_specific: int
    last_wait_pid: int
    reaped: int
    reaped_late: int
    exit_parent_pid: int
    exit_parent_host_pid: int
    exit_parent_start: int
    task: int
    exit_ns: int
    cgroup_id: int
    cgroup_hierarchy: int
    vpid: int
    pid_namespace: int
    uid: int
    exit_status: int
    comm: bytes


PROCESS = Struct(f"=QI4B{_BIRTH}4Q6I2IQQ{_FACTS}")

FIRST = bytes(4)
"""The key of the only entry of an array."""

PROCESS_KEY = Struct("=II")
"""struct process_key: host pid, start time >> START_SHIFT."""

HOST_PID = Struct("=I")

CGROUP_KEY = Struct("=QI4x")

CGROUP_NAMES = Struct("=I4x" + f"{CGROUP_NAME_LEN}s" * CGROUP_LEVELS)


WAITS_FOR_PROCESS = 1
WAITS_FOR_GROUP = 2
WAITS_UNREADABLE = -1
MAX_WAITS = 32

WAITS_ARGUMENTS = Struct("=QQ")
"""What read_waits takes: pid and start_ticks of a process."""


class BlockedWire(NamedTuple):
    """struct blocked_wait."""

    kind: int
    flags: int
    wanted: int
    thread: int


BLOCKED = Struct("=4I")


class CountersWire(NamedTuple):
    """struct counters, summed over processors."""

    exits: int
    forks_lost: int
    waits_lost: int
    map_full: int
    queue_full: int
    ring_full: int
    releases_missed: int
    names_lost: int


COUNTERS = Struct("=8Q")


def starts(start_ticks: int) -> Iterator[int]:
    """Yield the `start` of each process_key that a process of that start time may have.

    Args:
        start_ticks: as in /proc/PID/stat; a tick touches at most two units of the key.
    """
    first_ns = start_ticks * TICK_NS
    for unit in range(first_ns >> START_SHIFT, ((first_ns + TICK_NS - 1) >> START_SHIFT) + 1):
        yield unit & 0xFFFFFFFF


def text(raw: bytes) -> str:
    """Decode a name up to its first NUL; what follows can be rubbish (seen on 5.10)."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
