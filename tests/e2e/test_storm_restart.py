"""A storm across a restart of the agent: its zombies are in every count from the start."""

import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from support.agent import agent
from support.scripted import script
from support.zombies import wait_until

from tracer.clock import boot_ns
from tracer.procfs.fs import ProcFs
from tracer.state.store import StateStore

pytestmark = pytest.mark.kernel

STORM = 400

LEAKS_UNDER_A_SUBREAPER = f"""
PR_SET_PDEATHSIG = 1
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
read, write = os.pipe()
def leak():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # its zombies end with the test
    for _ in range({STORM}):
        dead(born())
    os.write(write, b"x")
    time.sleep(600)
parent = born(leak)
os.read(read, 1)
say(parent=parent)
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gauges(port):
    """Return the sum of zombie_tracer_zombies; None while the agent does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("zombie_tracer_zombies{")
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("lives", [True, False])
def test_a_storm_is_in_every_count_right_after_a_restart(tmp_path, number, lives):
    """Before the storm's next report, and also when its parent died in between."""
    port = free_port()
    options = ("--min-age", "300ms", "--state-dir", tmp_path, "--no-kubernetes")

    def saved(parent):
        state = StateStore(tmp_path, ProcFs(Path("/proc")).boot_id()).load(boot_ns())
        return [storm for storm in state.storms.values() if storm.parent.pid == parent]

    with script(LEAKS_UNDER_A_SUBREAPER) as leaks:
        with agent(*options) as first:
            first.line("zombie_storm", parent=leaks.parent)
            wait_until(lambda: saved(leaks.parent), timeout=30, what="a saved storm")
            first.stop(number)
        if not lives:
            os.kill(leaks.parent, signal.SIGKILL)
        with agent(*options, "--metrics-address", f"127.0.0.1:{port}") as second:
            counted = wait_until(lambda: gauges(port), what="gauges")
            assert second.stop() == 0
        stopped = second.line("agent_stopped")
        assert second.events("zombie_detected", parent=leaks.parent) == []
        by_namespace = sum(each["zombies"] for each in stopped["zombies"]["by_namespace"])
        assert by_namespace == stopped["zombies"]["now"] >= STORM
        assert counted >= STORM
