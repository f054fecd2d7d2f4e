"""A real agent whose resources run out, or whose BPF programs are taken away, while it runs."""

import os
import resource
import signal
import sys

import pytest
from support.agent import agent
from support.zombies import wait_until, zombies

pytestmark = pytest.mark.kernel

OPTIONS = ("--min-age", "300ms", "--no-kubernetes")

LOSES_ITS_PROGRAMS = """
import os, signal, sys
from tracer.cli import main
def lose(*_):
    null = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:bpf-prog":
                os.dup2(null, int(name))
        except FileNotFoundError:
            pass
    os.close(null)
signal.signal(signal.SIGUSR1, lose)
sys.exit(main(sys.argv[4:]))
"""
"""The agent, which on SIGUSR1 finds that its BPF programs are other files."""

MAY_LOSE_ITS_PROGRAMS = (sys.executable, "-c", LOSES_ITS_PROGRAMS)


def changes(running):
    """Return (level, previous source, source) of each source_changed line so far."""
    return [
        (line["level"], line["source"]["previous"], line["source"]["name"])
        for line in running.events("source_changed")
    ]


def all_once(running, pids, names):
    """Check that these zombies have exactly these lines each."""
    for pid in pids:
        assert running.names(pid) == names, pid


@pytest.mark.parametrize("source", ["core", "proc"])
def test_it_outlives_a_lack_of_file_descriptors(source, tmp_path):
    """D1: one EMFILE on a read of /proc ended it."""
    with (
        agent(*OPTIONS, "--source", source, "--state-dir", tmp_path / "state") as running,
        zombies(3) as family,
    ):
        running.lines_of(family.pids)
        before = resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        gone = family.reap(2)
        meanwhile = family.spawn(4)
        trouble = running.line("source_changed")
        assert trouble["level"] == "error"
        assert trouble["source"]["name"] == trouble["source"]["previous"] == source
        assert "Too many open files" in trouble["source"]["reason"]
        assert "ulimit -n" in trouble["source"]["reason"]
        resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, before)
        running.lines_of(meanwhile)
        running.lines_of(gone, "zombie_reaped")
        running.wait_for(lambda: len(changes(running)) == 2, what="the end of the trouble")
        assert changes(running) == [("error", source, source), ("info", source, source)]
        assert running.stop() == 0
        all_once(running, family.pids, ["zombie_detected"])
        all_once(running, gone, ["zombie_detected", "zombie_reaped"])
        assert running.errors == ""


def test_it_returns_to_core_when_that_works_again():
    """D1: `auto` stayed with the lesser source for the agent's life."""
    with (
        agent(*OPTIONS, "--state-dir", "none", wrapper=MAY_LOSE_ITS_PROGRAMS) as running,
        zombies(2) as family,
    ):
        assert running.started()["source"]["name"] == "core"
        running.lines_of(family.pids)
        running.process.send_signal(signal.SIGUSR1)
        fallback = running.line("source_changed")
        assert fallback["level"] == "error"
        assert fallback["source"]["previous"] == "core"
        lesser = fallback["source"]["name"]
        assert lesser in ("bcc", "proc")
        assert "core failed" in fallback["source"]["reason"]
        running.lines_of(family.spawn(2))
        running.wait_for(lambda: len(changes(running)) == 2, what="the return")
        assert changes(running) == [("error", "core", lesser), ("info", lesser, "core")]
        last = family.spawn(1)
        [line] = running.lines_of(last).values()
        assert line["process"]["exit"]["time_known"] is True
        assert line["forker"]["pid"] == family.parent_pid
        gone = family.reap()
        assert len(gone) == 5
        running.lines_of(gone, "zombie_reaped")
        assert running.stop() == 0
        all_once(running, gone, ["zombie_detected", "zombie_reaped"])
        assert running.events("agent_stopped")[0]["source"] == {
            "name": "core",
            "reason": "SIGTERM",
        }


def test_a_failure_for_good_is_the_last_line_and_the_next_agent_goes_on(tmp_path):
    """D1: there was no agent_stopped, and no state."""
    options = (*OPTIONS, "--source", "core", "--state-dir", tmp_path / "state")
    with zombies(2) as family:
        with agent(*options, wrapper=MAY_LOSE_ITS_PROGRAMS) as running:
            running.lines_of(family.pids)
            running.process.send_signal(signal.SIGUSR1)
            wait_until(lambda: running.process.poll() is not None, timeout=60, what="its end")
            assert running.stop() == 3
            last = running.lines[-1]
            assert (last["event"], last["level"]) == ("agent_stopped", "error")
            assert (
                "core failed: the kernel does not run the BPF program on request"
                in (last["source"]["reason"])
            )
            assert running.errors == ""
        with agent(*options) as following:
            gone = family.reap()
            following.lines_of(gone, "zombie_reaped")
            assert following.stop() == 0
            all_once(following, gone, ["zombie_reaped"])
    assert os.path.exists(tmp_path / "state")
