"""One run of the emulator: makes real zombies, keeps them for a while, and cleans up."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from tracer.durations import exact_duration
from tracer.emulate import spawn
from tracer.emulate.limits import fork_failed
from tracer.errors import PermanentError

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_DEATH_MILLISECONDS = 5000
"""How long a child that exits at once may take to become a zombie."""


Report = Callable[[str], None]
"""Tells the process that started a helper that the helper has got there."""


class Stopped(BaseException):
    """The hold is over or a signal came. Not an error: a BaseException passes error handlers."""


@dataclass
class EmulationRun:
    """What every scenario needs: how many zombies, how fast, for how long, and what to clean up.

    Attributes:
        count: zombies to make.
        rate: zombies per second; None is as fast as possible.
        hold_ns: how long to keep them once made; None is until a signal.
        say: prints a line for the user.
        helpers: living processes that end with the run, the outermost last.
        made: zombies made so far, where this process makes them.
    """

    count: int
    rate: float | None
    hold_ns: int | None
    say: Callable[[str], None]
    helpers: list[int] = field(default_factory=list)
    made: int = 0

    def dead_children(self) -> list[int]:
        """Make all the zombies as children of this process; return their pids.

        Raises:
            PermanentError: a fork failed.
        """
        make, pids = spawn.dead_child_maker(), []
        for _ in self.ticks():
            try:
                pids.append(make())
            except OSError as error:
                raise fork_failed(error, made=self.made, wanted=self.count) from error
            self.made += 1
        if pids:
            wait_until_dead(pids[-1])
        return pids

    def ticks(self) -> Iterator[None]:
        """Yield once per zombie, at the rate asked for and without drift."""
        began = time.monotonic()
        for done in range(self.count):
            if self.rate is not None:
                time.sleep(max(0.0, began + done / self.rate - time.monotonic()))
            yield

    def announce(self, parent: int, pids: list[int], *, what: str = "") -> None:
        """Print what was made."""
        what = what or ("zombie" if self.count == 1 else "zombies")
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
        """Let SIGALRM raise Stopped when the hold is over, for a scenario that blocks elsewhere."""
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
            # Not blocking: a program that executed us may have left a living child.
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def emulate(scenario: Callable[[EmulationRun], None], run: EmulationRun) -> None:
    """Run a scenario until its hold is over or a signal comes, and clean up.

    Changes signal handlers and the name of this process: for a command, not a library.

    Raises:
        PermanentError: it cannot be done here; what was made is cleaned up.
    """
    for number in _STOP_SIGNALS:
        # nohup(1) has us ignore SIGHUP, and that stays. A script has its background jobs
        # ignore SIGINT, and that does not: it should end them as anywhere.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    spawn.become_subreaper()
    try:
        scenario(run)
    except Stopped:
        pass
    finally:
        run.clean_up()
    run.say("cleaned up")


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def helper(run: EmulationRun, body: Callable[[Report], None]) -> tuple[int, str]:
    """Fork a process that runs `body` and dies with us; return its pid and what it reported.

    Args:
        run: kills it in the end.
        body: gets a function that reports a text; when it returns, the process exits.

    Raises:
        PermanentError: it could not be forked, or it reported `failed: …`.
    """
    out, into = os.pipe()
    # Blocked, so that a Ctrl-C finds the helper either not yet forked or on the list, and
    # never raises Stopped in the helper.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        pid = os.fork()
        if not pid:
            os.close(out)
            _act(body, into)
        run.helpers.append(pid)
    except OSError as error:
        raise fork_failed(error, made=run.made, wanted=run.count) from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    os.close(into)
    with os.fdopen(out) as report:
        text = report.readline().rstrip("\n")
    if text.startswith("failed: "):
        raise PermanentError(text.removeprefix("failed: "))
    return pid, text


def _act(body: Callable[[Report], None], into: int) -> None:
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
    """Wait until a child is a zombie, without the wait call that this parent must not make.

    A pidfd becomes readable then (pidfd_poll in kernel/fork.c), in every PID namespace.
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
    """Return the children of a process as our /proc shows them; empty where it does not."""
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
