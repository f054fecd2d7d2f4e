"""The scenarios: each function makes real processes live and die, and claims what is true of them.

Every one runs in a process of its own, which must not depend on pytest or a compiler.
"""

import os
import resource
import shutil
import signal
import tempfile
import threading
import time

from . import linux
from .conversation import claim, identity, reap, show, zombie

MIN_AGE_SECONDS = float(os.environ.get("TRACER_CONFORMANCE_MIN_AGE", "0.3"))
"""The sources of the suite run with it. On a slow machine more than an RCU grace period takes."""
SHELL = shutil.which("sh")
SCENARIOS = {}


def scenario(function):
    """Register an actor under its name; its docstring says what it shows."""
    SCENARIOS[function.__name__] = function
    return function


def in_time(began):
    """Whether what began then was surely not dead for the minimum age: on a busy machine it may be.

    Half of it, for the kernel reports a release only after an RCU grace period.
    """
    return linux.boot_ns() - began < MIN_AGE_SECONDS * 0.5e9


@scenario
def exit_code():
    """A child exits with a code."""
    began = linux.boot_ns()
    pid = linux.fork(lambda: 3)
    show(zombie(pid, began, exit_status=3 << 8))


@scenario
def sigkill():
    """A child is killed."""
    began = linux.boot_ns()
    pid = linux.fork(signal.pause)
    os.kill(pid, signal.SIGKILL)
    show(zombie(pid, began, exit_status=9))


@scenario
def core_dump():
    """A child dies of SIGSEGV, and dumps core where the machine lets it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        began = linux.boot_ns()
        pid = linux.fork(lambda: os.kill(os.getpid(), signal.SIGSEGV))
        status = linux.wait_status(pid)
        assert status & 0x7F == signal.SIGSEGV
        os.chdir("/")
        show(zombie(pid, began, exit_status=status))


@scenario
def other_user():
    """A child of another user."""

    def become():
        os.setgroups([])
        os.setresgid(4321, 4321, 4321)
        os.setresuid(1234, 1234, 1234)

    began = linux.boot_ns()
    pid = linux.fork(become)
    show(zombie(pid, began, uid=1234, exit_status=0))


@scenario
def names():
    """Children call themselves what breaks parsers and terminals."""
    raw = [
        b") Z (",
        b"\x1b[31mred\x1b[0m",
        b"\xff\xfe\x80",
        b"a\nb c) S 1 1",
        b"\\x41",
        b"15-bytes-long-n",
    ]
    facts = []
    for name in raw:
        began = linux.boot_ns()
        pid = linux.fork(lambda name=name: linux.prctl(linux.PR_SET_NAME, name))
        facts.append(zombie(pid, began, comm=name.decode("utf-8", "backslashreplace")))
    show(*facts)


@scenario
def vfork():
    """A child made by vfork (posix_spawn) runs a program."""
    began = linux.boot_ns()
    pid = os.posix_spawn(SHELL, ["sh", "-c", "exit 4"], {})
    show(zombie(pid, began, exit_status=4 << 8, comm="sh"))


@scenario
def custom_signal():
    """A child made by clone with an exit signal that is not SIGCHLD: plain wait never sees it."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    began = linux.boot_ns()
    pid = linux.clone(signal.SIGUSR1, lambda: 5)
    assert linux.wait_status(pid, linux.WALL) == 5 << 8
    facts = zombie(pid, began, exit_status=5 << 8)
    show(facts, reaping=lambda: reap(pid, options=linux.WALL))


@scenario
def clone_parent():
    """A child forks its own sibling: the forker never was its parent."""
    began = linux.boot_ns()
    forker = linux.fork(
        lambda: (linux.clone(linux.CLONE_PARENT | linux.SIGCHLD, lambda: 6), signal.pause())
    )
    pid = linux.until(
        lambda: set(linux.children(os.getpid())) - {forker}, "birth of the sibling"
    ).pop()
    facts = zombie(pid, began, exit_status=6 << 8, forker=forker)
    show(facts)
    os.kill(forker, signal.SIGKILL)
    reap(forker)


@scenario
def orphan():
    """The forker is dead and reaped when its child dies; a subreaper adopts."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    hold, release = os.pipe()

    def middle_process():
        linux.fork(lambda: linux.hold_on(hold, release, 7))

    middle = linux.fork(middle_process)
    reap(middle)
    pid = linux.until(lambda: linux.children(os.getpid()), "adoption").pop()
    began = linux.boot_ns()
    os.close(release)
    show(zombie(pid, began, exit_status=7 << 8, forker=middle))


@scenario
def reparented_twice():
    """A zombie's parent dies, then the subreaper that adopted it; the next one reaps it."""
    linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
    began = linux.boot_ns()

    def parent():
        linux.fork(lambda: 8)
        signal.pause()

    def inner():
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        linux.fork(parent)
        signal.pause()

    inner_pid = linux.fork(inner)
    (parent_pid,) = linux.until(lambda: linux.children(inner_pid), "birth of the parent")
    (pid,) = linux.until(lambda: linux.children(parent_pid), "birth of the child")
    facts = zombie(pid, began, exit_status=8 << 8)
    facts |= {"parent_pid": parent_pid, "exit_parent_pid": parent_pid, "forker": parent_pid}
    claim(zombies=[facts])
    os.kill(parent_pid, signal.SIGKILL)
    linux.until(lambda: pid in linux.children(inner_pid), "the first adoption")
    claim(parents=[[facts["identity"], inner_pid]])
    os.kill(inner_pid, signal.SIGKILL)
    linux.until(lambda: pid in linux.children(os.getpid()), "the second adoption")
    claim(parents=[[facts["identity"], os.getpid()]])
    reap(pid, parent_pid, inner_pid)
    claim(gone=[facts["identity"]])


@scenario
def init_reaps():
    """The parent is killed, and the machine's init reaps."""

    def parent():
        for _ in range(5):
            linux.fork(lambda: 0)
        signal.pause()

    began = linux.boot_ns()
    parent_pid = linux.fork(parent)
    linux.until(lambda: len(linux.children(parent_pid)) == 5, "birth of five")
    mine = {"parent_pid": parent_pid, "exit_parent_pid": parent_pid, "forker": parent_pid}
    facts = [zombie(pid, began, **mine) for pid in linux.children(parent_pid)]
    claim(zombies=facts)
    os.kill(parent_pid, signal.SIGKILL)
    reap(parent_pid)
    claim(gone=[fact["identity"] for fact in facts])


@scenario
def nested_namespaces():
    """A zombie two pid namespaces down."""

    def inner_init():
        linux.fork(lambda: 9)
        signal.pause()

    def outer_init():
        linux.unshare_pids()
        linux.fork(inner_init)
        signal.pause()

    began = linux.boot_ns()
    linux.unshare_pids()
    outer = linux.fork(outer_init)
    (inner,) = linux.until(lambda: linux.children(outer), "birth of the inner init")
    (pid,) = linux.until(lambda: linux.children(inner), "birth of the child")
    facts = zombie(pid, began, exit_status=9 << 8, vpid=2, pid_namespace="another", origin="init")
    facts |= {"parent_pid": inner, "exit_parent_pid": inner, "forker": inner}
    claim(zombies=[facts])
    os.kill(outer, signal.SIGKILL)
    reap(outer)
    claim(gone=[facts["identity"]])


@scenario
def thread_execs():
    """A thread that is not the leader execs: the process goes on under the leader's pid."""

    def execs():
        arguments = SHELL, ["sh", "-c", "exit 10"]
        threading.Thread(target=os.execv, args=arguments).start()
        signal.pause()

    began = linux.boot_ns()
    pid = linux.fork(execs)
    show(zombie(pid, began, exit_status=10 << 8, comm="sh"))


@scenario
def slow_exit():
    """A process has begun to exit and cannot finish: no zombie, until it can.

    It is pid 1 of a pid namespace, where it waits for a zombie whose parent is outside.
    """
    linux.unshare_pids()
    began = linux.boot_ns()
    init = linux.fork(signal.pause)
    guest = linux.dead(linux.fork(lambda: 0))
    os.kill(init, signal.SIGKILL)
    linux.until(lambda: linux.is_exiting(init), "the exit that is stuck")
    time.sleep(MIN_AGE_SECONDS * 2)
    claim(silent=[identity(init)])
    reap(guest)
    facts = zombie(init, began, vpid=1, pid_namespace="another", origin="init")
    assert facts["exit_status"] == signal.SIGKILL
    show(facts)


@scenario
def dead_leader():
    """The leader is dead and other threads live: no zombie, until the last one goes."""
    hold, release = os.pipe()

    def leaderless():
        os.close(release)

        def last():
            os.read(hold, 1)
            linux.exit_group(11)

        threading.Thread(target=last).start()
        linux.exit_thread()

    pid = linux.fork(leaderless)
    linux.until(lambda: linux.stat(pid)[0] == "Z", "death of the leader")
    time.sleep(MIN_AGE_SECONDS * 2)
    claim(silent=[identity(pid)])
    began = linux.boot_ns()
    os.close(release)
    show(zombie(pid, began, exit_status=11 << 8))


@scenario
def many_threads():
    """Processes of eight threads, the leader first or last: each is one zombie."""

    def crowd(leader_first):
        threads = [threading.Thread(target=time.sleep, args=(0.01,)) for _ in range(7)]
        for thread in threads:
            thread.start()
        if leader_first:
            linux.exit_thread()
        for thread in threads:
            thread.join()
        return 0

    pids = []
    began = linux.boot_ns()
    for number in range(30):
        pids.append(linux.fork(lambda number=number: crowd(number % 2)))
    show(*(zombie(pid, began, exit_status=0) for pid in pids))


@scenario
def sigchld_ignored():
    """The parent ignores SIGCHLD: its children never become zombies."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    hold, release = os.pipe()
    pids = [linux.fork(lambda: linux.hold_on(hold, release)) for _ in range(20)]
    identities = [identity(pid) for pid in pids]
    os.close(release)
    linux.until(lambda: not any(map(linux.stat, pids)), "the end of all")
    claim(silent=identities)


@scenario
def reaped_in_time():
    """Children are reaped before the minimum age."""
    quick = []
    for _ in range(5):
        began = linux.boot_ns()
        pid = linux.dead(linux.fork(lambda: 0))
        mine = identity(pid)
        time.sleep(MIN_AGE_SECONDS / 3)
        reap(pid)
        if in_time(began):
            quick.append(mine)
    time.sleep(MIN_AGE_SECONDS)
    claim(silent=quick)


@scenario
def one_in_ten():
    """Of many short processes some are left: exactly those are reported."""
    left, reaped = [], []
    began = linux.boot_ns()
    for number in range(300):
        born = linux.boot_ns()
        pid = linux.fork(lambda: 0)
        if number % 10 == 0:
            left.append(zombie(pid, began))
            continue
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        mine = identity(pid)
        reap(pid)
        if in_time(born):
            reaped.append(mine)
    claim(zombies=left)
    # Two of one pid within one tick of the clock would be one identity.
    kept = [fact["identity"] for fact in left]
    claim(silent=[mine for mine in reaped if mine not in kept])
    reap(*(pid for pid, _ in kept))
    claim(gone=kept)


@scenario
def pid_reused():
    """A pid is given out again the moment it is free, many times; then its holder stays dead.

    Chosen with clone3's set_tid: a tiny pid_max would reach every process of the machine.
    """
    with open("/proc/sys/kernel/pid_max") as file:
        top = min(int(file.read()), 1 << 22)
    for chosen in range(top - 500, top - 400):
        try:
            reap(linux.fork_as(chosen, lambda: 0))
            break
        except PermissionError as error:
            claim(skip=f"clone3 may not choose a pid: {error}")
            return
        except OSError as error:
            if error.errno == 38:
                claim(skip="no clone3")
                return
    for number in range(60):
        reap(linux.fork_as(chosen, lambda: 0))
        if number % 20 == 0:
            time.sleep(0.02)  # let some frees of earlier holders come while a later one lives
    began = linux.boot_ns()
    first = zombie(linux.fork_as(chosen, lambda: 12), began, exit_status=12 << 8)
    claim(zombies=[first])
    reap(chosen)
    began = linux.boot_ns()
    second = zombie(linux.fork_as(chosen, lambda: 13), began, exit_status=13 << 8)
    assert first["identity"] != second["identity"]
    claim(gone=[first["identity"]])
    show(second)


@scenario
def ptraced():
    """A tracer holds a dead child of somebody else; when it dies, the parent gets it."""
    hold, release = os.pipe()

    def tracer():
        os.close(release)
        linux.checked(linux.LIBC.ptrace(linux.PTRACE_SEIZE, pid, None, None))
        os.write(ready, b"x")
        signal.pause()

    wait, ready = os.pipe()
    pid = linux.fork(lambda: linux.hold_on(hold, release, 14))
    tracer_pid = linux.fork(tracer)
    os.read(wait, 1)
    began = linux.boot_ns()
    os.close(release)
    facts = zombie(pid, began, exit_status=14 << 8, tracer_pid=tracer_pid)
    claim(zombies=[facts])
    os.kill(tracer_pid, signal.SIGKILL)
    reap(tracer_pid, pid)
    claim(gone=[facts["identity"]])


@scenario
def waits():
    """A parent waits for any child, and for one, while others stay dead."""
    began = linux.boot_ns()
    hold, release = os.pipe()
    living = linux.fork(lambda: linux.hold_on(hold, release))
    for _ in range(4):
        os.waitpid(-1, os.WNOHANG)
    for _ in range(3):
        os.waitpid(living, os.WNOHANG)
    claim(
        waits={
            "identity": identity(os.getpid()),
            "any": 4,
            "specific": 3,
            "last_specific_pid": living,
        }
    )
    os.close(release)
    show(zombie(living, began))


@scenario
def entered():
    """A process comes into a pid namespace from outside, and leaves a zombie there."""
    hear, say = os.pipe()

    def enters():
        os.close(say)
        inside = int(os.read(hear, 32))
        with open(f"/proc/{inside}/ns/pid") as namespace:
            linux.checked(linux.LIBC.setns(namespace.fileno(), linux.CLONE_NEWPID))
        linux.fork(lambda: linux.fork(lambda: 15) and signal.pause())
        signal.pause()

    outside = linux.fork(enters)
    linux.unshare_pids()
    inside = linux.fork(signal.pause)
    began = linux.boot_ns()
    os.write(say, str(inside).encode())
    (parent,) = linux.until(lambda: linux.children(outside), "birth of the process that entered")
    (pid,) = linux.until(lambda: linux.children(parent), "birth of its child")
    facts = zombie(
        pid, began, exit_status=15 << 8, vpid=3, pid_namespace="another", origin="entered"
    )
    facts |= {"parent_pid": parent, "exit_parent_pid": parent, "forker": parent}
    claim(zombies=[facts])
    os.kill(inside, signal.SIGKILL)
    os.kill(outside, signal.SIGKILL)
    reap(inside, outside)
    claim(gone=[facts["identity"]])


@scenario
def older():
    """Zombies that were there before the source: alone in this, the sources start only now."""
    pids = [linux.dead(linux.fork(lambda code=code: code)) for code in range(3)]
    facts = [zombie(pid, 0, exit_status=code << 8) for code, pid in enumerate(pids)]
    claim(ready=True)
    show(*facts)
