"""A real `tracer` as its users run it: a process whose JSON lines are read and validated."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque

from support.schema import problems

TRACER = (sys.executable, "-m", "tracer")
DEADLINE_SECONDS = 60.0
"""Generous: only a failing test waits for so long, and the machine may be busy."""
FOREIGN_CHECKED = 50
"""A line takes 6 ms to validate, and other tests may leave zombies by the thousand."""


def environment(**more):
    """Return the environment without any option of ours, and with these variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRACER_")}
    return kept | more


def tracer(*arguments, env=None, timeout=60.0, wrapper=(), **options):
    """Run `tracer` to its end, and return what it did."""
    return subprocess.run(
        [*wrapper, *TRACER, *map(str, arguments)],
        env=environment(**(env or {})),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        **options,
    )


class Agent:
    """A running agent. Every line it writes is validated, at the latest by stop().

    Args:
        arguments: its options.
        env: variables for its environment.
        wrapper: what it is started with.
    """

    def __init__(self, *arguments, env=None, wrapper=()):
        self.lines = []
        self._raw = deque()
        self._by_pid = {}
        self._unchecked = []
        self._asked = set()
        self.process = subprocess.Popen(
            [*wrapper, *TRACER, *map(str, arguments)],
            env=environment(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.errors = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._error_reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()
        self._error_reader.start()

    def _read(self):
        """Only take the lines: a slow reader would make the agent drop them at its end."""
        for line in self.process.stdout:
            self._raw.append(line)

    def _take(self):
        """Parse what has come since the last call."""
        while self._raw:
            document = json.loads(self._raw.popleft())
            self.lines.append(document)
            self._by_pid.setdefault(document.get("process", {}).get("pid"), []).append(document)
            self._unchecked.append(document)

    def _check(self):
        """Validate each line once; of zombies that no test asks for, only some."""
        asked, foreign = [], []
        for line in self._unchecked:
            pid = line.get("process", {}).get("pid")
            (asked if pid is None or pid in self._asked else foreign).append(line)
        self._unchecked.clear()
        for line in asked + foreign[:FOREIGN_CHECKED]:
            found = problems(line)
            assert not found, f"{found} in {line}"

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors += line.decode()

    def events(self, name=None, *, pid=None, parent=None):
        """Return the lines so far: of this event, about this zombie, about this parent's."""
        self._take()
        if pid is not None:
            self._asked.add(pid)
        return [
            line
            for line in (self.lines if pid is None else self._by_pid.get(pid, ()))
            if (name is None or line["event"] == name)
            and (parent is None or line.get("parent", {}).get("pid") == parent)
        ]

    def names(self, pid):
        """Return the events of this zombie, in order."""
        return [line["event"] for line in self.events(pid=pid)]

    def wait_for(self, probe, *, what="a line", timeout=DEADLINE_SECONDS):
        """Wait until probe() returns something true, and return that."""
        deadline = time.monotonic() + timeout
        while True:
            ended = not self._reader.is_alive()
            found = probe()
            if found:
                return found
            if ended or time.monotonic() > deadline:
                when = "before its end" if ended else f"within {timeout} s"
                raise AssertionError(
                    f"no {what} {when}; stderr: {self.errors!r}; last: {self.lines[-3:]}"
                )
            time.sleep(0.02)

    def line(self, name, *, pid=None, parent=None, timeout=DEADLINE_SECONDS):
        """Wait for that event, and return its first line."""
        return self.wait_for(
            lambda: self.events(name, pid=pid, parent=parent),
            what=f"{name} of pid {pid}, parent {parent}",
            timeout=timeout,
        )[0]

    def lines_of(self, pids, name="zombie_detected", *, timeout=DEADLINE_SECONDS):
        """Wait for that event of each of these zombies; return the lines by pid."""
        missing, lines = set(pids), {}

        def all_found():
            for pid in list(missing):
                found = self.events(name, pid=pid)
                if found:
                    missing.discard(pid)
                    lines[pid] = found[0]
            return not missing

        self.wait_for(all_found, what=f"{name} of each of {len(missing)} zombies", timeout=timeout)
        return lines

    def started(self):
        """Wait for its first line, and return it."""
        return self.line("agent_started")

    def stop(self, number=signal.SIGTERM, *, timeout=DEADLINE_SECONDS):
        """Send a signal, wait for the end, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout)
        self._reader.join(timeout)
        self._error_reader.join(timeout)
        self.process.stdout.close()
        self.process.stderr.close()
        self._take()
        self._check()
        return status


@contextlib.contextmanager
def agent(*arguments, env=None, wrapper=(), wait=True):
    """Run an agent with these options, and stop it on leaving if it still runs."""
    running = Agent(*arguments, env=env, wrapper=wrapper)
    try:
        if wait:
            running.started()
        yield running
    finally:
        if running.process.poll() is None:
            running.stop()
        with contextlib.suppress(ProcessLookupError):
            running.process.kill()
