"""Runs scenarios, several at a time, before several sources, and says what each got wrong."""

import contextlib
import json
import os
import select
import signal
import time

from tracer.errors import TracerError

from .checks import CHECKS
from .fork_server import ForkServer
from .makers import MAKERS
from .watcher import Watcher

DEADLINE_SECONDS = 30.0
STEP_SECONDS = 0.01
OLDER = "older"
"""The scenario whose actor begins before the sources do."""


class Actor:
    """The process that runs a scenario."""

    def __init__(self, fork_server, scenario):
        self.began = time.monotonic()
        self._pid, self._socket, self._errors = fork_server.fork(scenario)
        self._lines = self._socket.makefile("rb")
        self._ended = False

    def has_message(self, timeout=0):
        """Whether a message, or the end, waits to be read."""
        return bool(select.select([self._socket], [], [], timeout)[0])

    def message(self):
        """Return its next claim.

        Raises:
            RuntimeError: it failed, which says nothing about a source.
        """
        if not self.has_message(DEADLINE_SECONDS):
            raise RuntimeError("the scenario itself hangs")
        line = self._lines.readline()
        if line:
            message = json.loads(line)
            self._ended = "end" in message
            return message
        raise RuntimeError(f"the scenario itself failed: {self._errors.read().decode()}")

    def answer(self):
        """Let it go on."""
        self._socket.send(b"\n")

    def end(self):
        """Unless it ended by itself, end it and all that it started."""
        if not self._ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, signal.SIGKILL)
        for each in (self._lines, self._socket, self._errors):
            each.close()


class Result:
    """What came of one scenario.

    Attributes:
        scenario: its name.
        wrong: what was wrong, by source; empty lists where all is right.
        skipped: why this kernel cannot run it.
        seconds: how long it took.
    """

    def __init__(self, scenario, sources):
        self.scenario = scenario
        self.wrong = {name: [] for name in sources}
        self.skipped = None
        self.seconds = 0.0

    def result(self, source):
        """Return ok, failed or skipped."""
        if self.skipped:
            return "skipped"
        return "failed" if self.wrong[source] else "ok"


class Session:
    """Sources that watch together, and the scenarios that run before them.

    Attributes:
        watchers: the sources that started.
        failed: why the others did not, by name.
        losses: what each source said at the end to have lost.
    """

    def __init__(self, sources, scenarios, jobs=6):
        self.watchers = []
        self.failed = {}
        self.losses = {}
        self._sources = sources
        self._waiting = [name for name in scenarios if name != OLDER]
        self._first = [name for name in scenarios if name == OLDER]
        self._jobs = jobs

    def run(self):
        """Run all scenarios, yielding each Result when it is there; stops the sources at the end."""
        with ForkServer() as self._fork_server:
            actors = {name: Actor(self._fork_server, name) for name in self._first}
            for actor in actors.values():
                actor.message()  # it says that its zombies are there
            try:
                self._start()
                for actor in actors.values():
                    actor.answer()
                yield from self._run_all(
                    {name: self._follow(name, a) for name, a in actors.items()}
                )
            finally:
                for actor in actors.values():
                    actor.end()
                for watcher in self.watchers:
                    self.losses[watcher.name] = watcher.source.losses()
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

    def _run_all(self, running):
        """Step sources and scenarios in turn."""
        while running or self._waiting:
            while self._waiting and len(running) < self._jobs:
                name = self._waiting.pop(0)
                running[name] = self._follow(name, Actor(self._fork_server, name))
            for watcher in self.watchers:
                watcher.step()
            for name, run in list(running.items()):
                result = next(run)
                if result is not None:
                    del running[name]
                    yield result
            time.sleep(STEP_SECONDS)

    def _follow(self, scenario, actor):
        """Follow one actor; yields None while it waits, and its Result at the end."""
        result = Result(scenario, [watcher.name for watcher in self.watchers])
        try:
            while True:
                yield from self._until(actor.has_message)
                message = actor.message()
                if "end" in message or "skip" in message:
                    result.skipped = message.get("skip")
                    break
                ((kind, claimed),) = message.items()
                check = CHECKS[kind](claimed, scenario == OLDER)
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
            result.wrong[watcher.name] += [f"reported twice: {child}" for child in watcher.doubled]
            watcher.doubled.clear()
        result.seconds = time.monotonic() - actor.began
        yield result

    @staticmethod
    def _until(happened):
        """Yield until it happened, or the deadline passed."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not happened() and time.monotonic() < deadline:
            yield
