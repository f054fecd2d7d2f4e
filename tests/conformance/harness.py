"""Plays scenarios, several at a time, before several sources, and says what each got wrong."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from tracer.errors import TracerError

from .checks import CHECKS
from .makers import MAKERS
from .watcher import Watcher

DEADLINE_SECONDS = 30.0
STEP_SECONDS = 0.01
ROOT = Path(__file__).parents[len(__package__.split("."))]
OLDER = "older"
"""The scenario whose actor begins before the sources do."""


class Actor:
    """The process that plays a scenario."""

    def __init__(self, scenario):
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-SEB", "-m", f"{__package__}.actors", scenario],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def has_told(self, timeout=0):
        """Whether a message, or the end, waits to be read."""
        return bool(select.select([self.process.stdout], [], [], timeout)[0])

    def message(self):
        """Return what it tells; None when it ended well.

        Raises:
            RuntimeError: it failed, which says nothing about a source.
        """
        if not self.has_told(DEADLINE_SECONDS):
            raise RuntimeError("the scenario itself hangs")
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        if self.process.wait(DEADLINE_SECONDS) != 0:
            said = self.process.stderr.read().decode("utf-8", "replace")
            raise RuntimeError(f"the scenario itself failed: {said}")
        return None

    def answer(self):
        """Let it go on."""
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self):
        """End it and all that it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


class Result:
    """What came of one scenario.

    Attributes:
        scenario: its name.
        wrong: what was wrong, by source; empty lists where all is right.
        skipped: why this kernel cannot play it.
        seconds: how long it took.
    """

    def __init__(self, scenario, sources):
        self.scenario = scenario
        self.wrong = {name: [] for name in sources}
        self.skipped = None
        self.seconds = 0.0

    def verdict(self, source):
        """Return ok, failed or skipped."""
        if self.skipped:
            return "skipped"
        return "failed" if self.wrong[source] else "ok"


class Session:
    """Sources that watch together, and scenarios played before them.

    Attributes:
        watchers: the sources that started.
        failed: why the others did not, by name.
    """

    def __init__(self, sources, scenarios, jobs=6):
        self.watchers = []
        self.failed = {}
        self._sources = sources
        self._waiting = [name for name in scenarios if name != OLDER]
        self._first = [name for name in scenarios if name == OLDER]
        self._jobs = jobs

    def run(self):
        """Play all scenarios, yielding each Result when it is there; stops the sources at the end."""
        actors = {name: Actor(name) for name in self._first}
        for actor in actors.values():
            actor.message()  # it says that its zombies are there
        try:
            self._start()
            for actor in actors.values():
                actor.answer()
            yield from self._play({name: self._perform(name, a) for name, a in actors.items()})
        finally:
            for actor in actors.values():
                actor.end()
            for watcher in self.watchers:
                watcher.source.close()

    def _start(self):
        for name in self._sources:
            watcher = Watcher(MAKERS[name]())
            try:
                watcher.start()
            except TracerError as error:
                watcher.source.close()
                self.failed[name] = str(error)
            else:
                self.watchers.append(watcher)

    def _play(self, running):
        """Step sources and scenarios in turn."""
        while running or self._waiting:
            while self._waiting and len(running) < self._jobs:
                name = self._waiting.pop(0)
                running[name] = self._perform(name, Actor(name))
            for watcher in self.watchers:
                watcher.step()
            for name, performance in list(running.items()):
                result = next(performance)
                if result is not None:
                    del running[name]
                    yield result
            time.sleep(STEP_SECONDS)

    def _perform(self, scenario, actor):
        """Follow one actor; yields None while it waits, and its Result at the end."""
        result = Result(scenario, [watcher.name for watcher in self.watchers])
        try:
            while True:
                yield from self._until(actor.has_told)
                message = actor.message()
                if message is None or "skip" in message:
                    result.skipped = message and message["skip"]
                    break
                ((kind, told),) = message.items()
                check = CHECKS[kind](told, scenario == OLDER)
                yield from self._until(lambda check=check: all(map(check.ready, self.watchers)))
                for watcher in self.watchers:
                    result.wrong[watcher.name] += check.wrong(watcher)
                actor.answer()
        except RuntimeError as error:
            for problems in result.wrong.values():
                problems.append(str(error))
        finally:
            actor.end()
        for watcher in self.watchers:
            result.wrong[watcher.name] += [f"told twice: {child}" for child in watcher.doubled]
            watcher.doubled.clear()
        result.seconds = time.monotonic() - actor.began
        yield result

    @staticmethod
    def _until(happened):
        """Yield until it happened, or the deadline passed."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not happened() and time.monotonic() < deadline:
            yield
