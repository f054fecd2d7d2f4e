"""The causes, each played by real processes as it happens in the field."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tracer.emulate import spawn
from tracer.emulate.run import Stage, children_of, helper, wait_until_dead
from tracer.errors import PermanentError

LATE_SECONDS = 15.0
"""How long slow_reaper leaves its children unreaped: longer than the agent's --min-age."""
_FIRST_LATE_SECONDS = 1.5
"""Its first two children, so that it is known as a late reaper before one is reported."""

Report = Callable[[str], None]


def _pause_for_ever() -> None:
    while True:
        signal.pause()


def parent_never_waits(stage: Stage) -> None:
    """Fork children and forget them."""
    spawn.set_name("never-waits")
    pids = stage.dead_children()
    stage.announce(os.getpid(), pids)
    stage.hold()


def parent_waits_elsewhere(stage: Stage) -> None:
    """Be blocked waiting for one long-lived child while others die."""
    spawn.set_name("waits-elsewhere")

    def live_on(report: Report) -> None:
        report("here")
        _pause_for_ever()

    living, _ = helper(stage, live_on)
    pids = stage.dead_children()
    stage.announce(os.getpid(), pids)
    stage.say(f"and waits only for {living}, which lives")
    stage.hold_with_alarm()
    os.waitpid(living, 0)
    # Somebody killed it: now the parent waits for nobody.
    stage.helpers.remove(living)
    stage.hold()


def slow_reaper(stage: Stage) -> None:
    """Reap everything, but only every 15 seconds; then fork as many again."""
    spawn.set_name("slow-reaper")
    stage.hold_with_alarm()
    replace(stage, count=2, rate=None).dead_children()
    time.sleep(_FIRST_LATE_SECONDS)
    _reap_all()
    while True:
        pids = stage.dead_children()
        stage.announce(os.getpid(), pids)
        stage.say(f"and reaps them after {LATE_SECONDS:g} s, to make as many again")
        stage.made = 0
        time.sleep(LATE_SECONDS)
        _reap_all()


def _reap_all() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def init_does_not_reap(stage: Stage) -> None:
    """Be, or start, a pid 1 that does not reap the orphans it adopts."""
    spawn.set_name("no-init")
    if os.getpid() == 1:
        _adopt_orphans(stage)
        stage.announce(1, children_of(1))
        stage.hold()
    _new_pid_namespace("init_does_not_reap")

    def be_init(report: Report) -> None:
        _adopt_orphans(stage)
        report("made")
        _pause_for_ever()

    init, _ = helper(stage, be_init)
    stage.announce(init, children_of(init))
    stage.hold()


def _adopt_orphans(stage: Stage) -> None:
    """As pid 1: let a child fork and die, as a program that daemonizes does.

    With a rate each zombie has a forker of its own. The forker is reaped, as a shell
    does with its foreground child.
    """
    batch = stage.count if stage.rate is None else 1
    for _ in range(1) if stage.rate is None else stage.beats():
        passing = replace(stage, count=batch, rate=None, helpers=[])

        def fork_and_die(report: Report, passing: Stage = passing) -> None:
            passing.dead_children()
            report("made")

        forker, _ = helper(passing, fork_and_die)
        os.waitpid(forker, 0)
        stage.made += batch


def exec_orphan(stage: Stage) -> None:
    """Enter a container's pid namespace from outside, as an exec probe does, and leave orphans."""
    spawn.set_name("exec-orphan")
    _new_pid_namespace("exec_orphan")

    def be_init(report: Report) -> None:
        report("here")
        _pause_for_ever()

    def enter_and_die(report: Report) -> None:
        stage.dead_children()
        report("made")

    # unshare(2) changed where our children are born, not where we are: the second one is
    # born in the namespace with a parent outside of it, as after setns(2) in runc exec.
    init, _ = helper(stage, be_init)
    probe, _ = helper(stage, enter_and_die)
    os.waitpid(probe, 0)
    stage.helpers.remove(probe)
    stage.announce(init, children_of(init))
    stage.hold()


def _new_pid_namespace(cause: str) -> None:
    try:
        spawn.new_pid_namespace()
    except OSError as error:
        raise PermanentError(
            f"{cause} needs a pid namespace of its own, and the kernel refused one "
            f"({error.strerror}): run as root, allow user namespaces "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), "
            "or run it as pid 1 of a container"
        ) from error


def parent_stopped(stage: Stage) -> None:
    """Stop a parent (SIGSTOP) that has dead children."""
    spawn.set_name("stopped-parent")

    def stop(report: Report) -> None:
        report(" ".join(map(str, stage.dead_children())))
        os.kill(os.getpid(), signal.SIGSTOP)
        _pause_for_ever()

    parent, pids = helper(stage, stop)
    stage.announce(parent, [int(pid) for pid in pids.split()])
    stage.say(f"and is stopped; `kill -CONT {parent}` continues it")
    stage.hold()


def traced(stage: Stage) -> None:
    """Let children die while a tracer, which does not wait for them, holds them."""
    spawn.set_name("traced")
    out, into = os.pipe()
    living = []

    def live_until_told(report: Report) -> None:
        os.close(into)
        spawn.allow_tracing()
        report("here")
        os.read(out, 1)

    for _ in stage.beats():
        living.append(helper(stage, live_until_told)[0])
        stage.made += 1

    def hold_them(report: Report) -> None:
        os.close(into)
        spawn.set_name("tracer-of-them")
        for pid in living:
            spawn.seize(pid)
        report("seized")
        _pause_for_ever()

    tracer, _ = helper(stage, hold_them)
    os.close(into)
    for pid in living:
        wait_until_dead(pid)
    # The parent does what it should: it gets nothing while the tracer holds them.
    _reap_all()
    stage.announce(os.getpid(), living)
    stage.say(f"and cannot reap them: {tracer} traces them and does not wait")
    stage.hold()


def dead_leader(stage: Stage) -> None:
    """Let the main thread of living processes end: `ps` says defunct, but no zombie is there."""
    spawn.set_name("dead-leader")

    def end_leader(report: Report) -> None:
        threading.Thread(target=spawn.pause_without_interpreter, daemon=True).start()
        report("here")
        spawn.exit_this_thread()

    pids = []
    for _ in stage.beats():
        pids.append(helper(stage, end_leader)[0])
        stage.made += 1
    for pid in pids:
        _wait_until_headless(pid)
    stage.announce(os.getpid(), pids, what="living children with a dead leader")
    stage.say("none of them is a zombie, and none must be reported")
    stage.hold()


def _wait_until_headless(pid: int) -> None:
    """Wait, for at most a second, until /proc says Z; a pidfd tells only of the whole process."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(1000):
        with suppress(OSError):
            if stat.read_bytes().rpartition(b") ")[2][:1] == b"Z":
                return
        time.sleep(0.001)


SCENES: Mapping[str, Callable[[Stage], None]] = {
    scene.__name__: scene
    for scene in (
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
"""Name of the cause, as on the command line, to what plays it."""
