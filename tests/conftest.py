"""What all tests share: their settings, and what the mark `kernel` asks for."""

import ctypes
import os
from functools import cache
from importlib.resources import files
from pathlib import Path

from hypothesis import settings
from support.kernel import require

# A deadline measures the machine's other work, not the code.
settings.register_profile("tracer", deadline=None)
settings.load_profile("tracer")

BPF_PROG_TYPE_RAW_TRACEPOINT = 17  # include/uapi/linux/bpf.h


@cache
def why_no_bpf():
    """Return what is missing for tests with BPF, asked without the code under test."""
    if os.geteuid() != 0:
        return "loading BPF needs root"
    if not Path("/sys/kernel/btf/vmlinux").exists():
        return "this kernel has no BTF"
    if not files("tracer").joinpath("_objects/tracer.bpf.o").is_file():
        return "the BPF object is not built: make bpf"
    try:
        libbpf = ctypes.CDLL("libbpf.so.1")
    except OSError as error:
        return f"libbpf cannot be loaded: {error}"
    if libbpf.libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_RAW_TRACEPOINT, None) != 1:
        return "the kernel refuses BPF programs for raw tracepoints"
    return None


def pytest_runtest_setup(item):
    """Skip a test marked `kernel` where BPF is impossible; fail it where that is required."""
    if item.get_closest_marker("kernel"):
        reason = why_no_bpf()
        require(reason is None, reason)
