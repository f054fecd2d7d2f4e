"""A time namespace of this process's own: boot times that the kernel does not share."""

import os
import subprocess
import sys

import pytest
from support.kernel import require

READ = """
from tracer.procfs.fs import ProcFs
from tracer.procfs.timens import boot_offset_ns, time_namespace_problem
print(boot_offset_ns(ProcFs()), time_namespace_problem(ProcFs()))
"""


def read(*offset):
    """Return what a process says in a time namespace with that offset."""
    require(os.geteuid() == 0, "making a time namespace needs root")
    command = ["unshare", "--time", *offset, "--fork", sys.executable, "-c", READ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"no time namespaces here: {done.stderr}")
    return done.stdout.strip()


@pytest.mark.kernel
def test_an_offset_is_a_problem_that_names_it():
    assert read("--boottime", "100").startswith("100000000000 this process is in a time namespace")
    assert "differs by -7 s" in read("--boottime", "-7")


@pytest.mark.kernel
def test_a_time_namespace_without_an_offset_is_no_problem():
    assert read() == "0 None"


def test_the_machines_own_is_no_problem():
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 None"


@pytest.mark.kernel
def test_scan_warns_on_stderr():
    require(os.geteuid() == 0, "making a time namespace needs root")
    command = ["unshare", "--time", "--boottime", "100", "--fork", sys.executable, "-m", "tracer"]
    scan = ["scan", "--source", "proc", "--no-kubernetes", "--state-dir", "none", "-o", "json"]
    done = subprocess.run([*command, *scan], capture_output=True, text=True, check=False)
    [line] = done.stderr.splitlines()
    assert line.startswith("tracer: WARNING: this process is in a time namespace of its own")
    assert "+100 s" in line
