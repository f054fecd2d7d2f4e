"""A restart between a death and the minimum age costs neither the exit time nor the cause.

Beside the agents that follow each other runs one that is never restarted: its lines are what
theirs have to be.
"""

import signal
from datetime import datetime

import pytest
from support.agent import agent
from support.scripted import script
from support.zombies import wait_until, zombies

from tracer.clock import NS, boot_ns

pytestmark = pytest.mark.kernel

MIN_AGE = "4s"

ORPHANS = """
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
def dead(pid):
    # Without a wait call: how the parent waited before a restart is not part of the state.
    while True:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            state, parent = stat.read().rpartition(b") ")[2].split()[:2]
        if state == b"Z" and int(parent) == os.getpid():
            return pid
        time.sleep(0.001)
def orphan(status, uid):
    read, write = os.pipe()
    def between():
        if uid:
            os.setuid(uid)
        os.write(write, str(born(lambda: time.sleep(0.05), status)).encode())
    middle = born(between)
    return [dead(int(os.read(read, 20))), dead(middle)]
def killed():
    pid = born(lambda: time.sleep(600))
    os.kill(pid, signal.SIGKILL)
    return dead(pid)
say(pids=[dead(born(status=7)), killed(), *orphan(3, 0), *orphan(0, 65534)])
"""

IN_A_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


def facts(line):
    """Return what a restart must not change; times of /proc's clock are exact to a tick."""
    forker, exit_ = line["forker"], line["process"]["exit"]
    return {
        "code": line["cause"]["code"],
        "forker": (forker["pid"], forker["executable"]["name"], forker["is_parent"]),
        "exit": (exit_["time_known"], exit_["code"], exit_["signal"]),
        "user": line["process"]["user"]["id"],
    }


def seconds(text):
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("number", "after_seconds"),
    [
        (signal.SIGTERM, 0.0),
        (signal.SIGTERM, 3.0),
        (signal.SIGKILL, 1.2),
        (signal.SIGKILL, 3.0),
    ],
)
def test_what_is_known_of_a_death_outlives_the_agent(tmp_path, number, after_seconds):
    options = ("--source", "core", "--min-age", MIN_AGE, "--no-kubernetes")
    state = ("--state-dir", tmp_path / "state")
    with (
        agent(*options, "--state-dir", "none") as steady,
        agent(*options, *state) as first,
        script(ORPHANS) as family,
        zombies(2, wrapper=IN_A_NAMESPACE) as contained,
    ):
        died_boot_ns = boot_ns()
        pids = [*family.pids, *contained.pids]
        assert not first.events("zombie_detected", pid=pids[0])
        end = died_boot_ns + int(after_seconds * NS)
        wait_until(lambda: boot_ns() >= end, what="that age")
        first.stop(number)
        with agent(*options, *state) as second:
            lines = second.lines_of(pids)
            expected = steady.lines_of(pids)
            for pid in pids:
                assert facts(lines[pid]) == facts(expected[pid]), pid
                exits = [
                    seconds(each[pid]["process"]["exit"]["time"]) for each in (lines, expected)
                ]
                assert exits[0] == pytest.approx(exits[1], abs=0.002)
            assert second.stop() == 0
        for pid in pids:
            assert first.names(pid) == []
            assert second.names(pid) == ["zombie_detected"]
            assert lines[pid]["event.id"] == expected[pid]["event.id"]
            assert "repeated" not in lines[pid]
