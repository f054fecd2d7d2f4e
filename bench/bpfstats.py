"""The kernel's statistics of BPF programs: how often they ran, and for how long."""

import contextlib
import ctypes
import os
from typing import NamedTuple

_BPF_STATS_RUN_TIME = 0
_BPF_PROG_TYPE_RAW_TRACEPOINT = 17
_INFO_BYTES = 256
_libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


class Program(NamedTuple):
    """From struct bpf_prog_info, include/uapi/linux/bpf.h."""

    number: int
    name: str
    run_ns: int
    runs: int
    verified_instructions: int


@contextlib.contextmanager
def enabled():
    """Count run times (which makes each run slower) while the context lasts.

    The same as kernel.bpf_stats_enabled=1, but the kernel itself ends it with the
    descriptor, however we end.
    """
    descriptor = _libbpf.bpf_enable_stats(_BPF_STATS_RUN_TIME)
    if descriptor < 0:
        raise RuntimeError(f"BPF_ENABLE_STATS: {os.strerror(-descriptor)}")
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def empty_program():
    """Run a program that does nothing at each exit, for the cost of the statistics."""
    instructions = (ctypes.c_uint64 * 2)(0xB7, 0x95)  # r0 = 0; exit
    load = _libbpf.bpf_prog_load
    load.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
    ]
    program = load(_BPF_PROG_TYPE_RAW_TRACEPOINT, b"empty", b"GPL", instructions, 2, None)
    attached = _libbpf.bpf_raw_tracepoint_open(b"sched_process_exit", program)
    if program < 0 or attached < 0:
        raise RuntimeError(f"an empty BPF program: {os.strerror(-min(program, attached))}")
    try:
        yield
    finally:
        os.close(attached)
        os.close(program)


def programs(pid):
    """Return the BPF programs that a process holds, by number."""
    found = {}
    try:
        descriptors = os.listdir(f"/proc/{pid}/fdinfo")
    except FileNotFoundError:
        return found
    for descriptor in descriptors:
        try:
            with open(f"/proc/{pid}/fdinfo/{descriptor}") as file:
                fields = dict(line.rstrip().split(":\t", 1) for line in file if ":\t" in line)
        except OSError:
            continue
        if "prog_id" in fields:
            found[int(fields["prog_id"])] = None
    return {number: _info(number) for number in sorted(found)}


def _info(number):
    descriptor = _libbpf.bpf_prog_get_fd_by_id(number)
    if descriptor < 0:
        raise RuntimeError(f"BPF program {number} is gone: {os.strerror(-descriptor)}")
    try:
        raw = ctypes.create_string_buffer(_INFO_BYTES)
        size = ctypes.c_uint32(_INFO_BYTES)
        if _libbpf.bpf_obj_get_info_by_fd(descriptor, raw, ctypes.byref(size)):
            raise RuntimeError(f"BPF program {number}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)

    def word(offset, length):
        return int.from_bytes(raw.raw[offset : offset + length], "little")

    name = raw.raw[64:80].split(b"\0", 1)[0].decode()
    return Program(number, name, word(192, 8), word(200, 8), word(216, 4))


def spent(before, after):
    """Return name → (mean ns a run, runs) of what ran between two calls of programs()."""
    out = {}
    for number, program in after.items():
        old = before.get(number)
        if old is not None and program.runs > old.runs:
            runs = program.runs - old.runs
            out[program.name] = (program.run_ns - old.run_ns) / runs, runs
    return out
