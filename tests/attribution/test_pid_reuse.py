"""A pid that is in use again by the time it is read: nobody gets the pod of somebody else."""

import json
import os
import subprocess
import sys
import uuid

import pytest
from support.cgroups import cgroup, missing, unified

pytestmark = pytest.mark.kernel

REUSES_PIDS = """
import json, os, sys, time
from functools import partial
from tracer.attribution.attributor import Attributor
from tracer.clock import TICK_NS
from tracer.model import Child, Identity
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup
from tracer.procfs.zombie import read_zombie

proc = ProcFs()
attributor = Attributor(partial(read_cgroup, proc), None, None)

def born(pid, folder):
    "Make a living process with that pid in that cgroup."
    with open("/proc/sys/kernel/ns_last_pid", "w") as last:
        last.write(str(pid - 1))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with open(folder + "/cgroup.procs", "w") as procs:
            procs.write("0")
        os.write(write, b"x")
        time.sleep(600)
    assert child == pid, f"{child} is not {pid}"
    os.read(read, 1)
    return Identity(pid, proc.stat(pid).start_ticks)

def end(identity):
    os.kill(identity.pid, 9)
    os.waitpid(identity.pid, 0)

def reused(identity, folder):
    "End a process, and start another with its pid in another tick."
    end(identity)
    while True:
        other = born(identity.pid, folder)
        if other.start_ticks > identity.start_ticks + 1:
            return other
        end(other)

def path(attribution):
    return None if attribution.cgroup is None else attribution.cgroup.path

first, second = sys.argv[1:]
mine = born(1000, first)
dead = Child(mine, 1001, mine.start_ticks * TICK_NS)
parent = born(1001, first)
child_of = Child(Identity(1002, parent.start_ticks + 1), 1001, 0)
found = {
    "own": path(attributor.attribute(dead, None)),
    "parent": path(attributor.attribute(child_of, 1001)),
    "process": path(attributor.attribute_process(parent)),
    "view": read_zombie(proc, mine) is not None,
}
after, taker = reused(mine, second), reused(parent, second)
found |= {
    "own after": path(attributor.attribute(dead, None)),
    "parent after": path(attributor.attribute(child_of, 1001)),
    "process after": path(attributor.attribute_process(parent)),
    "view after": read_zombie(proc, mine) is not None,
    "taker": path(attributor.attribute_process(taker)),
}
print(json.dumps(found))
"""


def test_the_pod_of_whoever_has_the_pid_now_is_not_taken():
    """For a zombie, for its parent and for a living process."""
    if not os.path.exists("/proc/sys/kernel/ns_last_pid"):
        missing("this kernel does not let a test choose a pid (CONFIG_CHECKPOINT_RESTORE)")
    pods = [f"kubepods/pod{uuid.uuid4()}/{number * 64}" for number in "12"]
    with cgroup(unified(), pods[0]) as first, cgroup(unified(), pods[1]) as second:
        namespace = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        done = subprocess.run(
            [*namespace, sys.executable, "-c", REUSES_PIDS, str(first), str(second)],
            check=True,
            capture_output=True,
            timeout=60,
        )
    before, after = f"/{pods[0]}", f"/{pods[1]}"
    assert json.loads(done.stdout) == {
        "own": before,
        "parent": before,
        "process": before,
        "view": True,
        "own after": None,
        "parent after": None,
        "process after": None,
        "view after": False,
        "taker": after,
    }
