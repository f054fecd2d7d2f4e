"""Makes real zombies on purpose, each cause as it happens in the field, and cleans them up."""

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from tracer.durations import exact_duration
from tracer.emulate import spawn
from tracer.emulate.limits import fork_failed
from tracer.errors import PermanentError

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEATH_MILLISECONDS = 5000
"""How long a child that exits at once may take to show as dead."""


class Stopped(BaseException):
    """The hold is over, or somebody pressed Ctrl-C. No error: a BaseException passes handlers."""


@dataclass
class Stage:
    """What every scene needs: how many, how fast, how long, and whom to kill at the end.

    Attributes:
        count: zombies to make.
        rate: zombies a second; None is as fast as possible.
        hold_ns: how long to keep them once made; None is until a signal.
        say: prints a line for the user.
        helpers: living processes that end with the scene, the outermost last.
        made: zombies made so far, where this process makes them.
    """

    count: int
    rate: float | None
    hold_ns: int | None
    say: Callable[[str], None]
    helpers: list[int] = field(default_factory=list)
    made: int = 0

    def dead_children(self) -> list[int]:
        """Make all the zombies, children of this process; return their pids."""
        make, pids = spawn.dead_child_maker(), []
        for _ in self.beats():
            try:
                pids.append(make())
            except OSError as error:
                raise fork_failed(error, made=self.made, wanted=self.count) from error
            self.made += 1
        if pids:
            wait_until_dead(pids[-1])
        return pids

    def beats(self) -> "range | Beats":
        """Return something to loop over once a zombie, at the rate asked for."""
        return range(self.count) if self.rate is None else Beats(self.count, self.rate)

    def announce(self, parent: int, pids: list[int], *, what: str = "zombies") -> None:
        """Tell what was made."""
        self.say(f"parent {parent} has {self.count} {what}: {ranges(pids)}")
        kept = "until Ctrl-C" if self.hold_ns is None else f"for {exact_duration(self.hold_ns)}"
        self.say(f"keeping them {kept}")

    def hold(self) -> None:
        """Keep everything as it is; raises Stopped at the end."""
        if self.hold_ns is not None:
            time.sleep(self.hold_ns / 1e9)
            raise Stopped
        while True:
            signal.pause()

    def hold_with_alarm(self) -> None:
        """Let SIGALRM raise Stopped when the hold is over, for a scene that blocks elsewhere."""
        if self.hold_ns is not None:
            signal.signal(signal.SIGALRM, _stop)
            # A zero would disarm the timer.
            signal.setitimer(signal.ITIMER_REAL, max(self.hold_ns / 1e9, 1e-6))

    def clean_up(self) -> None:
        """Kill the helpers and reap everything."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for pid in reversed(self.helpers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in reversed(self.helpers):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        with suppress(ChildProcessError):
            # Not blocking: a child that whoever exec'd us left behind may live on.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


class Beats:
    """Yields `count` times, `rate` times a second, without drift."""

    def __init__(self, count: int, rate: float) -> None:
        self._count, self._rate = count, rate

    def __iter__(self) -> "Beats":
        self._done, self._began = 0, time.monotonic()
        return self

    def __next__(self) -> int:
        if self._done == self._count:
            raise StopIteration
        time.sleep(max(0.0, self._began + self._done / self._rate - time.monotonic()))
        self._done += 1
        return self._done


def emulate(scene: Callable[[Stage], None], stage: Stage) -> None:
    """Play a scene until its hold is over or a signal comes, and clean up.

    Changes signal handlers and the name of this process: for a command, not a library.

    Raises:
        PermanentError: it cannot be done here; what was made is cleaned up.
    """
    for number in _STOP_SIGNALS:
        # nohup(1) ignores SIGHUP for us. SIGINT is ignored for every background job of
        # a script, where it is as much a wish to end as anywhere.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    spawn.become_subreaper()
    try:
        scene(stage)
    except Stopped:
        pass
    finally:
        stage.clean_up()
    stage.say("cleaned up")


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def helper(stage: Stage, body: Callable[[Callable[[str], None]], None]) -> tuple[int, str]:
    """Fork a process that runs `body` and dies with us; return its pid and what it reported.

    Args:
        stage: kills it in the end.
        body: gets a function that reports a text; when it returns, the process exits.

    Raises:
        PermanentError: it could not be forked, or it reported `failed: …`.
    """
    out, into = os.pipe()
    # Blocked, so that a Ctrl-C finds the helper either not yet there or on the list, and
    # never raises Stopped in the helper.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            os.close(out)
            _act(body, into)
        stage.helpers.append(pid)
    except OSError as error:
        raise fork_failed(error, made=stage.made, wanted=stage.count) from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    os.close(into)
    with os.fdopen(out) as report:
        text = report.readline().rstrip("\n")
    if text.startswith("failed: "):
        raise PermanentError(text.removeprefix("failed: "))
    return pid, text


def _act(body: Callable[[Callable[[str], None]], None], into: int) -> None:
    """Be the helper; never returns into the caller's code."""
    status = 1
    try:
        for number in _STOP_SIGNALS:
            # Ctrl-C is for the command, which ends us in order.
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        spawn.die_with_parent()
        body(lambda text: _report(into, text))
        status = 0
    except (OSError, PermanentError) as error:
        _report(into, f"failed: {error}")
    finally:
        os._exit(status)


def _report(into: int, text: str) -> None:
    with suppress(OSError):
        os.write(into, text.encode() + b"\n")
        os.close(into)


def wait_until_dead(pid: int) -> None:
    """Wait until a child is a zombie. A wait call is just what a bad parent never makes.

    A pidfd becomes readable then (pidfd_poll in kernel/fork.c), in every pid namespace.
    """
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            death = select.poll()
            death.register(descriptor, select.POLLIN)
            death.poll(_DEATH_MILLISECONDS)
        finally:
            os.close(descriptor)


def children_of(pid: int) -> list[int]:
    """Return the children of a process as our /proc shows them; empty where it cannot tell."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - as above
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def ranges(pids: list[int], *, most: int = 8) -> str:
    """Write pids as `12-15 17`; of many ranges only the first and the number of the rest."""
    spans: list[list[int]] = []
    for pid in sorted(pids):
        if spans and spans[-1][1] == pid - 1:
            spans[-1][1] = pid
        else:
            spans.append([pid, pid])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in spans[:most]]
    rest = sum(b - a + 1 for a, b in spans[most:])
    return " ".join(texts) + (f" and {rest} more" if rest else "") if texts else "(pids unknown)"
