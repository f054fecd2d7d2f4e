"""`tracer explain` as a user runs it: of a zombie, a parent, a healthy process, and others."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.kernel import require
from support.zombies import children, wait_until, zombie_children, zombies

from tracer.errors import PermanentError
from tracer.procfs.fs import ProcFs
from tracer.sources.core.source import CoreSource

BASE = ("--no-kubernetes", "--state-dir", "none", "--source", "proc", "--watch", "100ms")


def explain(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tracer", "explain", *BASE, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_zombie():
    with zombies(3, status=7) as family:
        result = explain(str(family.pids[0]))
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert f"{family.pids[0]} (python" in text
    assert "is a zombie: it exited with code 7" in text
    assert f"{family.parent_pid} (python" in text
    assert "<defunct>" in text
    assert "2 more zombies" in text
    assert "Cause: parent_never_waits (possible)" in text
    assert "What to do\n  1. python" in text
    assert "has to wait for its children" in text


def test_a_zombie_as_json():
    with zombies(2, status=-9) as family:
        result = explain(str(family.pids[0]), "-o", "json")
    explanation = json.loads(result.stdout)
    assert explanation["kind"] == "zombie"
    assert explanation["tree"][-1]["pid"] == family.parent_pid
    [zombie] = explanation["zombies"]
    assert zombie["process"]["pid"] == family.pids[0]
    assert zombie["process"]["exit"]["signal"] == "SIGKILL"
    assert zombie["cause"]["code"] == "parent_never_waits"
    assert explanation["zombies_of_parent"] == 2
    assert explanation["steps"]


def test_a_parent():
    with zombies(30) as family:
        result = explain(str(family.parent_pid))
    assert "is alive and has 30 zombies." in result.stdout
    assert "27 more zombies" in result.stdout


def test_a_parent_with_two_causes_gets_advice_for_both():
    """Its own child, and an orphan that it adopted as pid 1."""
    script = 'setsid sh -c "sleep 0.2 & exec true" & exec tail -f /dev/null'
    command = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    with subprocess.Popen(command) as outside:
        try:
            children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
            init = wait_until(children.read_text).strip()
            wait_until(lambda: len(zombie_children(int(init))) == 2)
            text = explain(init).stdout
        finally:
            outside.kill()
    assert "Cause: parent_never_waits" in text
    assert "Cause: init_does_not_reap" in text
    _, steps = text.split("What to do")
    assert "Run an init as the parent" in steps
    assert "Run an init such as tini or dumb-init as PID 1" in steps
    assert steps.count("removes the current zombies") == 1


@pytest.mark.kernel
def test_with_bpf_it_shows_waits_and_times():
    """Waits are seen while it watches; the rhythm of the deaths is that of the zombies."""
    try:
        source = CoreSource(min_age_ns=0)
        source.start()
        source.close()
    except PermanentError as error:
        require(False, str(error))
    with zombies(12) as family:
        result = explain(str(family.parent_pid), "--source", "core", "--watch", "300ms")
    assert "Zombies of this parent, by when they died" in result.stdout
    assert re.search(r"ago  #{40} \d+", result.stdout)
    assert "of watching: 0 wait calls for any child, 0 for one pid or group" in result.stdout


WAITS_ELSEWHERE = """
import os, signal
if not os.fork():
    os._exit(0)
wanted = os.fork()
if not wanted:
    signal.pause()
print(wanted, flush=True)
os.waitpid(wanted, 0)
"""


@pytest.mark.parametrize("wrapper", [(), ("unshare", "--pid", "--fork", "--kill-child")])
@pytest.mark.parametrize("source", ["proc", "core"])
def test_the_tree_shows_the_child_that_the_parent_waits_for(source, wrapper):
    """It entered the call before anybody watched; the call has a pid of its own namespace."""
    require(os.geteuid() == 0, "reading which call a process is in needs root")
    parent = subprocess.Popen(
        [*wrapper, sys.executable, "-c", WAITS_ELSEWHERE], stdout=subprocess.PIPE
    )
    try:
        pid = parent.pid
        if wrapper:
            [pid] = wait_until(lambda: list(children(parent.pid)), what="the parent")
        parent.stdout.readline()
        [zombie] = wait_until(lambda: zombie_children(pid), what="its zombie")
        [wanted] = set(children(pid)) - {zombie}
        wait_until(
            lambda: Path(f"/proc/{pid}/wchan").read_text() == "do_wait", what="its wait call"
        )
        result = explain(str(zombie), "--source", source)
        require(source == "proc" or result.returncode != 3, result.stderr)
    finally:
        if not wrapper:
            os.kill(wanted, signal.SIGKILL)
        parent.kill()
        parent.communicate()
    [line] = [line for line in result.stdout.splitlines() if "its parent waits for" in line]
    assert f"└─ {wanted} (python" in line, result.stdout


def test_a_healthy_process():
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            result = explain(str(process.pid))
        finally:
            process.kill()
    assert "is healthy: it is alive and has no zombies. It has no living children." in result.stdout
    assert "Cause" not in result.stdout


def test_a_dead_leader_is_alive(tmp_path):
    """Z in ps, and yet no zombie."""
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=lambda: time.sleep(60), daemon=True).start()\n"
        "ctypes.CDLL(None).syscall(60 if __import__('os').uname().machine == 'x86_64' else 93, 0)"
    )
    process = subprocess.Popen([sys.executable, "-I", "-c", script])
    try:
        stat = ProcFs().stat
        wait_until(lambda: stat(process.pid).state == "Z", what="a dead leader")
        result = explain(str(process.pid))
    finally:
        process.kill()
        process.wait()
    assert "is alive and not a zombie" in result.stdout
    assert result.returncode == 0


def test_a_thread_stands_for_its_process():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        result = explain(str(thread.native_id), "-o", "json")
    finally:
        done.set()
        thread.join()
    assert json.loads(result.stdout)["process"]["pid"] == os.getpid()


def test_no_such_process():
    pid = ProcFs().pid_max()
    result = explain(str(pid))
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"there is no process {pid}" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("pid", ["x", "-1", "0", "1.5", "99999999999", "0x10"])
def test_no_pid(pid):
    result = explain(pid)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


def test_names_are_escaped():
    """A name that would clear the screen is shown, not obeyed."""
    with zombies(1, comm="\x1b[2Jx") as family:
        result = explain(str(family.pids[0]))
    assert "\x1b" not in result.stdout
    assert r"\x1b[2Jx" in result.stdout


def test_a_zombie_reaped_while_watched():
    with zombies(1) as family:
        command = [sys.executable, "-m", "tracer", "explain", str(family.pids[0])]
        options = ["--no-kubernetes", "--state-dir", "none", "--source", "proc", "--watch", "2s"]
        with subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr.readline().startswith("watching")
            family.reap(1)
            text, _ = process.communicate(timeout=30)
    assert "was a zombie and was reaped while it was watched" in text
