"""One scenario per cause: real processes that leave zombies as it happens in the field."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tracer.emulate import spawn
from tracer.emulate.run import EmulationRun, Report, children_of, helper, wait_until_dead
from tracer.errors import PermanentError

LATE_SECONDS = 15.0
"""After how long slow_reaper reaps: longer than the agent's --min-age."""
_FIRST_LATE_SECONDS = 1.5
"""The same for its first two children, so that it is known to reap late before it is reported."""


def _pause_forever() -> None:
    while True:
        signal.pause()


def parent_never_waits(run: EmulationRun) -> None:
    """Fork children and never wait for them."""
    spawn.set_name("never-waits")
    pids = run.dead_children()
    run.announce(os.getpid(), pids)
    run.hold()


def parent_waits_elsewhere(run: EmulationRun) -> None:
    """Be blocked in a wait call for one long-lived child while others exit."""
    spawn.set_name("waits-elsewhere")

    def live_on(report: Report) -> None:
        report("here")
        _pause_forever()

    living, _ = helper(run, live_on)
    pids = run.dead_children()
    run.announce(os.getpid(), pids)
    run.say(f"the parent waits only for PID {living}, which keeps running")
    run.hold_with_alarm()
    os.waitpid(living, 0)
    # Something else killed it: now the parent does not wait at all.
    run.helpers.remove(living)
    run.hold()


def slow_reaper(run: EmulationRun) -> None:
    """Reap everything, but only every 15 seconds; then fork as many again."""
    spawn.set_name("slow-reaper")
    run.hold_with_alarm()
    replace(run, count=2, rate=None).dead_children()
    time.sleep(_FIRST_LATE_SECONDS)
    _reap_all()
    while True:
        pids = run.dead_children()
        run.announce(os.getpid(), pids)
        run.say(f"the parent reaps them after {LATE_SECONDS:g} s, then makes as many again")
        run.made = 0
        time.sleep(LATE_SECONDS)
        _reap_all()


def _reap_all() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def init_does_not_reap(run: EmulationRun) -> None:
    """Be, or start, a PID 1 that does not reap the orphans it adopts."""
    spawn.set_name("no-init")
    if os.getpid() == 1:
        _adopt_orphans(run)
        run.announce(1, children_of(1))
        run.hold()
    _new_pid_namespace("init_does_not_reap")

    def be_init(report: Report) -> None:
        _adopt_orphans(run)
        report("made")
        _pause_forever()

    init, _ = helper(run, be_init)
    run.announce(init, children_of(init))
    run.hold()


def _adopt_orphans(run: EmulationRun) -> None:
    """As PID 1: let a child fork and exit, as a program that daemonizes does.

    With a rate, each zombie has a forker of its own. The forker is reaped, as a shell
    reaps its foreground child.
    """
    batch = run.count if run.rate is None else 1
    for _ in range(1) if run.rate is None else run.ticks():
        passing = replace(run, count=batch, rate=None, helpers=[])

        def fork_and_die(report: Report, passing: EmulationRun = passing) -> None:
            passing.dead_children()
            report("made")

        forker, _ = helper(passing, fork_and_die)
        os.waitpid(forker, 0)
        run.made += batch


def exec_orphan(run: EmulationRun) -> None:
    """Join a PID namespace from outside, as an exec probe does, and leave orphans there."""
    spawn.set_name("exec-orphan")
    _new_pid_namespace("exec_orphan")

    def be_init(report: Report) -> None:
        report("here")
        _pause_forever()

    def enter_and_die(report: Report) -> None:
        run.dead_children()
        report("made")

    # unshare(2) changed where our children are forked, not where we are: the second one is
    # in the namespace and its parent outside, as after setns(2) in runc exec.
    init, _ = helper(run, be_init)
    probe, _ = helper(run, enter_and_die)
    os.waitpid(probe, 0)
    run.helpers.remove(probe)
    run.announce(init, children_of(init))
    run.hold()


def _new_pid_namespace(cause: str) -> None:
    try:
        spawn.new_pid_namespace()
    except OSError as error:
        raise PermanentError(
            f"{cause} needs a new PID namespace, and the kernel refused to create one "
            f"({error.strerror}): run this as root, allow user namespaces "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), "
            "or run it as PID 1 of a container"
        ) from error


def parent_stopped(run: EmulationRun) -> None:
    """Stop a parent (SIGSTOP) that has zombies."""
    spawn.set_name("stopped-parent")

    def stop(report: Report) -> None:
        report(" ".join(map(str, run.dead_children())))
        os.kill(os.getpid(), signal.SIGSTOP)
        _pause_forever()

    parent, pids = helper(run, stop)
    run.announce(parent, [int(pid) for pid in pids.split()])
    run.say(f"the parent is stopped; continue it with `kill -CONT {parent}`")
    run.hold()


def traced(run: EmulationRun) -> None:
    """Let children exit while a tracer holds them and does not wait for them."""
    spawn.set_name("traced")
    out, into = os.pipe()
    living = []

    def live_until_told(report: Report) -> None:
        os.close(into)
        spawn.allow_tracing()
        report("here")
        os.read(out, 1)

    for _ in run.ticks():
        living.append(helper(run, live_until_told)[0])
        run.made += 1

    def hold_them(report: Report) -> None:
        os.close(into)
        spawn.set_name("tracer-of-them")
        for pid in living:
            spawn.seize(pid)
        report("seized")
        _pause_forever()

    tracer, _ = helper(run, hold_them)
    os.close(into)
    for pid in living:
        wait_until_dead(pid)
    # The parent waits as it should: it gets none of them while the tracer holds them.
    _reap_all()
    run.announce(os.getpid(), living)
    run.say(f"the parent cannot reap them: PID {tracer} traces them and does not wait")
    run.hold()


def dead_leader(run: EmulationRun) -> None:
    """End the main thread of living processes: `ps` calls them defunct, but they live."""
    spawn.set_name("dead-leader")

    def end_leader(report: Report) -> None:
        threading.Thread(target=spawn.pause_without_interpreter, daemon=True).start()
        report("here")
        spawn.exit_this_thread()

    pids = []
    for _ in run.ticks():
        pids.append(helper(run, end_leader)[0])
        run.made += 1
    for pid in pids:
        _wait_until_leader_dead(pid)
    run.announce(os.getpid(), pids, what="living children with a dead leader")
    run.say("they are not zombies, and the agent must not report them")
    run.hold()


def _wait_until_leader_dead(pid: int) -> None:
    """Wait up to a second until /proc shows state Z; a pidfd shows only the whole process."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(1000):
        with suppress(OSError):
            if stat.read_bytes().rpartition(b") ")[2][:1] == b"Z":
                return
        time.sleep(0.001)


SCENARIOS: Mapping[str, Callable[[EmulationRun], None]] = {
    scenario.__name__: scenario
    for scenario in (
        parent_never_waits,
        parent_waits_elsewhere,
        slow_reaper,
        init_does_not_reap,
        exec_orphan,
        parent_stopped,
        traced,
        dead_leader,
    )
}
"""The scenarios by name, as on the command line."""
