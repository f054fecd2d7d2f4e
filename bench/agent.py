"""Run the agent, and what a user might run instead."""

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from bpfstats import enabled, programs

START_SECONDS = 30
WITH_TRACEFS = """[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing
exec "$0" "$@"
"""


class Agent:
    """A running `tracer`; its lines are read by a thread as they come.

    Attributes:
        pid: of its process.
        lines: (Unix time of arrival, the line's object).
    """

    def __init__(self, *arguments, min_age="1s", kubernetes=False):
        self.lines = []
        self.started = time.time()
        command = [sys.executable, "-m", "tracer", "--min-age", min_age, "--log-level", "info"]
        if not kubernetes:
            command.append("--no-kubernetes")
        self._folder = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [*command, "--state-dir", self._folder.name, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        self._errors = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self):
        for raw in self._process.stdout:
            self.lines.append((time.time(), json.loads(raw)))

    def _read_errors(self):
        for raw in self._process.stderr:
            self._errors.append(raw.decode("utf-8", "replace"))

    def wait_started(self):
        self.wait_for(lambda line: line["event"] == "agent_started", START_SECONDS)
        return self

    def wait_for(self, wanted, seconds):
        """Return the (arrival, line) that is wanted, waiting for it."""
        looked_at = 0
        deadline = time.monotonic() + seconds
        while True:
            while looked_at < len(self.lines):
                if wanted(self.lines[looked_at][1]):
                    return self.lines[looked_at]
                looked_at += 1
            if self._process.poll() is not None:
                raise RuntimeError(f"tracer has ended: {''.join(self._errors[-5:])}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"tracer did not log the expected line within {seconds} s")
            time.sleep(0.002)

    def detected(self, parent_pids):
        """Return pid → (arrival, line) of what was detected of these parents."""
        found = {}
        for arrival, line in list(self.lines):
            if line["event"] == "zombie_detected" and line["parent"]["pid"] in parent_pids:
                if line["process"]["pid"] in found:
                    raise RuntimeError(f"detected twice: {line['process']['pid']}")
                found[line["process"]["pid"]] = arrival, line
        return found

    def stop(self):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for reader in self._readers:
            reader.join(5)
        self._process.stdout.close()
        self._process.stderr.close()
        self._folder.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@contextlib.contextmanager
def agent(*arguments, **options):
    """Run an agent and wait for its agent_started."""
    with Agent(*arguments, **options) as one:
        yield one.wait_started()


def installed(*names):
    """Return the path of the first of these programs, None when none is there."""
    for name in names:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        if path is not None:
            return path
    return None


@contextlib.contextmanager
def exitsnoop():
    """Run libbpf-tools' exitsnoop as a user would, discarding its output; None when missing."""
    path = installed("exitsnoop")
    if path is None:
        yield None
        return
    with _quiet([path]) as process:
        yield process


@contextlib.contextmanager
def bpftrace():
    """Count exits by comm, the shortest script that does; None when missing."""
    path = installed("bpftrace")
    if path is None:
        yield None
        return
    script = "tracepoint:sched:sched_process_exit { @[comm] = count(); }"
    with _quiet([path, "-e", script]) as process:
        yield process


@contextlib.contextmanager
def _quiet(command):
    deadline = time.monotonic() + START_SECONDS
    # In a mount namespace of its own, because they need tracefs, and not every machine
    # has it mounted. unshare and sh exec what follows: the pid stays the same.
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", WITH_TRACEFS, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        with enabled():
            while not _runs(process.pid):
                subprocess.run(["true"], check=True)  # an exit for it to see
                if process.poll() is not None or time.monotonic() > deadline:
                    said = process.stderr.read().decode() if process.poll() is not None else ""
                    raise RuntimeError(f"{command[0]} does not run here: {said.strip()[-200:]}")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _runs(pid):
    return any(program.runs for program in programs(pid).values())
