"""Compiling and attaching the bcc program, on nodes without kernel headers."""

import os
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracer.errors import PermanentError
from tracer.sources.bcc.maps import Counters, HashMap, Queue
from tracer.sources.bcc.tracefs import with_tracefs
from tracer.sources.skipped_runs import SkippedRuns, read_fdinfo

_HERE = Path(__file__).parent
SOURCE = _HERE / "zombie.c"
HEADERS = _HERE / "headers"
"""What bcc takes for a kernel source tree."""

BIRTH = struct.Struct("=QQII16s")
"""struct birth: fork_boot_ns, forker_start_boot_ns, forker, stale_frees, forker_comm."""
DEATH = struct.Struct("=Q")
"""exit_boot_ns."""
REPORTED = struct.Struct("=QQ")
"""struct reported: exit_boot_ns, start_ticks."""
GONE = struct.Struct("=QQQII")
"""struct gone: gone_boot_ns, exit_boot_ns, start_ticks, pid, padding."""
WAITS = struct.Struct("=7QII")
"""struct waits: any, specific, last, last_any, reaped, late, late_ns, last_specific, padding."""

EXITS, BIRTHS_FULL, DEATHS_FULL, GONE_FULL, WAITS_FULL = range(5)
"""enum counter."""

_CLOCKS = ("bpf_ktime_get_boot_ns", "bpf_ktime_get_ns")
"""The first is since Linux 5.8; the second stands still while the machine sleeps."""


@dataclass(frozen=True, slots=True)
class Program:
    """The attached program.

    Attributes:
        bpf: bcc's object, which owns everything.
        clock: the helper that its times come from.
        skipped: how often the kernel skipped the hooks fork, exit, free and wait.
        births, deaths, reported, waits, gone, counters: its maps (zombie.c).
    """

    bpf: Any
    clock: str
    skipped: SkippedRuns
    births: HashMap
    deaths: HashMap
    reported: HashMap
    waits: HashMap
    gone: Queue
    counters: Counters

    @property
    def monotonic(self) -> bool:
        """Whether its times are of CLOCK_MONOTONIC."""
        return self.clock == _CLOCKS[1]


def load(
    map_entries: int,
    reported_entries: int,
    clocks: tuple[str, ...] = _CLOCKS,
    read_fdinfo: Callable[[int], bytes] = read_fdinfo,
) -> Program:
    """Compile and attach; from here on forks and deaths are seen.

    Args:
        map_entries: tasks alive at once whose forker is remembered.
        reported_entries: zombies whose reaping is reported at once.
        clocks: helpers to take the time from, the first that the kernel has.
        read_fdinfo: returns what /proc says of a descriptor of this process.

    Raises:
        PermanentError: bcc, tracefs or rights are missing; says what and what to do.
    """
    try:
        import bcc  # noqa: PLC0415 - 60 MB that no other source needs
        from bcc.libbcc import lib  # noqa: PLC0415
        from bcc.utils import get_possible_cpus  # noqa: PLC0415
    except (ImportError, OSError) as error:
        raise PermanentError(
            f"bcc's Python module cannot be loaded ({error}); install python3-bpfcc for "
            f"{sys.executable}, or a virtual environment with --system-site-packages"
        ) from error

    def compile_(tracefs: Path) -> tuple[Any, str]:
        # Deaths younger than the minimum age: few, and each look walks through all the room.
        flags = [
            f"-DMAP_ENTRIES={map_entries}",
            f"-DDEATHS_ENTRIES={max(map_entries // 8, 1)}",
            f"-DREPORTED_ENTRIES={reported_entries}",
        ]
        exit_format = (tracefs / "events/sched/sched_process_exit/format").read_bytes()
        if re.search(rb"field:[^;]*\bgroup_dead;", exit_format):
            flags.append("-DGROUP_DEAD")
        problems: list[str] = []
        for clock in clocks:
            said: list[str] = []
            try:
                with _environment(), _stderr(said):
                    program = bcc.BPF(src_file=bytes(SOURCE), cflags=[*flags, f"-DNOW={clock}"])
            except Exception as error:  # noqa: BLE001 - bcc raises nothing narrower
                what = re.sub(r"\bb'([^']*)'", r"\1", str(error))
                problems.append(f"{what}{_why(said)}")
            else:
                return program, clock
        raise PermanentError(
            "bcc could not compile or attach its program: "
            + "; ".join(problems)
            + "; it needs CAP_BPF, CAP_PERFMON and readable tracefs (run as root)"
        )

    bpf, clock = with_tracefs(compile_)
    return Program(
        bpf=bpf,
        clock=clock,
        skipped=SkippedRuns(
            {name.decode().rpartition("_")[2]: one.fd for name, one in bpf.funcs.items()},
            read_fdinfo,
        ),
        births=HashMap(lib, bpf[b"births"].map_fd, BIRTH),
        deaths=HashMap(lib, bpf[b"deaths"].map_fd, DEATH),
        reported=HashMap(lib, bpf[b"reported"].map_fd, REPORTED),
        waits=HashMap(lib, bpf[b"waits"].map_fd, WAITS),
        gone=Queue(lib, bpf[b"gone"].map_fd, GONE),
        counters=Counters(lib, bpf[b"counters"].map_fd, len(get_possible_cpus())),
    )


@contextmanager
def _environment() -> Iterator[None]:
    """Name the stub tree as the kernel's source to bcc, which reads the C environment."""
    before = os.environ.get("BCC_KERNEL_SOURCE")
    os.environ["BCC_KERNEL_SOURCE"] = str(HEADERS)
    try:
        yield
    finally:
        if before is None:
            del os.environ["BCC_KERNEL_SOURCE"]
        else:
            os.environ["BCC_KERNEL_SOURCE"] = before


@contextmanager
def _stderr(said: list[str]) -> Iterator[None]:
    """Catch what LLVM and libbcc print: an error is one line, and theirs belongs into it."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as caught:
        before = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            caught.seek(0)
            said.extend(caught.read().decode("utf-8", "replace").splitlines())


def _why(said: list[str]) -> str:
    """Return the line that says most of what bcc printed."""
    lines = [line.strip() for line in said if line.strip()]
    errors = [line for line in lines if "error:" in line.lower()]
    best = (errors or lines[-1:])[:1]
    return f" ({best[0]})" if best else ""
