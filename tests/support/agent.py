"""A real `tracer` as its users run it: a process whose JSON lines are read and validated."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from schema import parse_line

TRACER = (sys.executable, "-m", "tracer")
DEADLINE_SECONDS = 60.0
"""Generous: only a failing test waits for so long, and the machine may be busy."""


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
    """A running agent. Every line it writes is validated; a bad one fails the next call.

    Args:
        arguments: its options.
        env: variables for its environment.
        wrapper: what it is started with.
    """

    def __init__(self, *arguments, env=None, wrapper=()):
        self.lines = []
        self._trouble = None
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [*wrapper, *TRACER, *map(str, arguments)],
            env=environment(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        self.errors = ""
        for reader in self._readers:
            reader.start()

    def _read(self):
        for line in self.process.stdout:
            try:
                document = parse_line(line)
            except Exception as error:
                self._trouble = self._trouble or error
                continue
            with self._changed:
                self.lines.append(document)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _read_errors(self):
        for line in self.process.stderr:
            self.errors += line.decode()

    def events(self, name=None, *, pid=None, parent=None):
        """Return the lines so far: of this event, about this zombie, about this parent's."""
        return [
            line
            for line in list(self.lines)
            if (name is None or line["event"] == name)
            and (pid is None or line.get("process", {}).get("pid") == pid)
            and (parent is None or line.get("parent", {}).get("pid") == parent)
        ]

    def names(self, pid):
        """Return which events were told of this zombie, in their order."""
        return [line["event"] for line in self.events(pid=pid)]

    def wait_for(self, probe, *, what="a line", timeout=DEADLINE_SECONDS):
        """Wait until probe(), asked after each line, returns something true; return that."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if self._trouble:
                    raise self._trouble
                found = probe()
                if found:
                    return found
                ended = not self._readers[0].is_alive()
                left = deadline - time.monotonic()
                if left <= 0 or ended:
                    when = "before its end" if ended else f"within {timeout} s"
                    raise AssertionError(
                        f"no {what} {when}; stderr: {self.errors!r}; last: {self.lines[-3:]}"
                    )
                self._changed.wait(min(left, 0.5))

    def line(self, name, *, pid=None, parent=None, timeout=DEADLINE_SECONDS):
        """Wait for that event, and return its first line."""
        return self.wait_for(
            lambda: self.events(name, pid=pid, parent=parent),
            what=f"{name} of pid {pid}, parent {parent}",
            timeout=timeout,
        )[0]

    def lines_of(self, pids, name="zombie_detected", *, timeout=DEADLINE_SECONDS):
        """Wait until that event was told of each of these zombies; return the lines by pid."""
        wanted = set(pids)

        def found():
            by_pid = {line["process"]["pid"]: line for line in self.events(name)}
            return by_pid.keys() >= wanted and {pid: by_pid[pid] for pid in pids}

        return self.wait_for(
            found, what=f"{name} of each of {len(wanted)} zombies", timeout=timeout
        )

    def started(self):
        """Wait for its first line, and return it."""
        return self.line("agent_started")

    def stop(self, number=signal.SIGTERM, *, timeout=DEADLINE_SECONDS):
        """Send a signal, wait for the end, and return the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(timeout)
        self.process.stdout.close()
        self.process.stderr.close()
        if self._trouble:
            raise self._trouble
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
