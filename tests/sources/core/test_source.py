"""The core source's own promises; what all sources promise alike is in tests/conformance."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conformance import linux
from support.kernel import require
from support.zombies import start_ticks, wait_until, zombies

from tracer.clock import NS, boot_ns
from tracer.diagnosis.parent import Parents
from tracer.model import Child, Gone, Identity
from tracer.procfs.fs import ProcFs
from tracer.sources.core.source import HOOKS, CoreSource

pytestmark = pytest.mark.kernel

MIN_AGE = NS // 5


@contextlib.contextmanager
def started(**options):
    source = CoreSource(**{"min_age_ns": MIN_AGE, **options})
    try:
        source.start()
        yield source
    finally:
        source.close()


class Seen(list):
    """What a source has reported so far, oldest first."""

    def __init__(self, source):
        super().__init__()
        self.source = source

    def await_all(self, kind, identities):
        """Poll until all of these were reported."""
        wanted = set(identities)

        def arrived():
            self.extend(self.source.poll(boot_ns()))
            return wanted <= {one.identity for one in self if isinstance(one, kind)}

        wait_until(arrived, what=f"{kind.__name__} of {wanted}")


def identity(pid):
    return Identity(pid, start_ticks(pid))


def test_a_process_that_is_older_than_the_hooks_is_known_from_its_exec_on():
    """How it waited before does not count for the program that runs now."""
    old = subprocess.Popen(["sh", "-c", "read line; exec sleep 100"], stdin=subprocess.PIPE)
    try:
        with started() as source:
            old.stdin.write(b"go\n")
            old.stdin.flush()
            wait_until(lambda: Path(f"/proc/{old.pid}/comm").read_text() == "sleep\n", what="exec")
            waits = source.waits(identity(old.pid))
            assert waits.exec_boot_ns is not None
            assert waits.watched_since_boot_ns == waits.exec_boot_ns >= source.attached_boot_ns
    finally:
        old.kill()
        old.wait()
        old.stdin.close()


def free_pid():
    """Return a pid that is free and that clone3 may choose."""
    top = min(int(Path("/proc/sys/kernel/pid_max").read_text()), 1 << 22)
    for chosen in range(top - 900, top - 800):
        with contextlib.suppress(FileExistsError):
            os.waitpid(linux.fork_as(chosen, lambda: 0), 0)
            return chosen
    raise AssertionError("no pid is free")


def test_the_release_of_a_process_counts_although_its_pid_is_taken_again():
    """sched_process_free comes a grace period after the pid is free for others."""
    try:
        chosen = free_pid()
    except PermissionError as error:
        require(False, f"clone3 may not choose a pid: {error}")
    with started() as source:
        parent = os.fork()
        if parent == 0:
            for _ in range(20):
                os.waitpid(linux.fork_as(chosen, lambda: time.sleep(0.04)), 0)
            linux.fork_as(chosen, signal.pause)
            signal.pause()
        try:
            wait_until(lambda: linux.children(parent) == [chosen], what="the last child")
            wait_until(lambda: source.waits(identity(parent)).specific == 20, what="the waits")
            wait_until(lambda: source.waits(identity(parent)).reaped == 20, what="the releases")
            assert source.forker(identity(chosen)).identity == identity(parent)
        finally:
            os.kill(chosen, signal.SIGKILL)
            os.kill(parent, signal.SIGKILL)
            os.waitpid(parent, 0)


@contextlib.contextmanager
def stuck_exit():
    """Yield a process that has begun to exit and cannot finish, and what lets it finish.

    It is pid 1 of a pid namespace: zap_pid_ns_processes() waits for a zombie in there whose
    parent is outside and does not reap it.
    """
    hear, say = os.pipe()
    outer = os.fork()
    if outer == 0:
        linux.unshare_pids()
        init = linux.fork(signal.pause)
        guest = linux.dead(linux.fork(lambda: 0))
        os.kill(init, signal.SIGKILL)
        os.write(say, b"%d\n" % init)
        signal.signal(signal.SIGUSR1, lambda *_: os.waitpid(guest, 0))
        while True:
            signal.pause()
    try:
        yield int(os.read(hear, 32)), lambda: os.kill(outer, signal.SIGUSR1)
    finally:
        os.kill(outer, signal.SIGKILL)
        os.waitpid(outer, 0)
        os.close(hear)
        os.close(say)


def test_a_death_in_progress_does_not_wait_for_what_is_due_later():
    """It is checked again every 100 ms, also while another death ages behind it."""
    min_age = 2 * NS
    with started(min_age_ns=min_age) as source, stuck_exit() as (pid, let_finish):
        began, seen = boot_ns(), Seen(source)
        stuck = identity(pid)
        wait_until(lambda: boot_ns() > began + min_age * 3 // 4, what="most of the minimum age")
        with zombies(1) as family:
            later = identity(family.pids[0])
            while boot_ns() < began + min_age * 5 // 4:
                seen.extend(source.poll(boot_ns()))
                time.sleep(0.01)
            assert stuck not in {one.identity for one in seen}, "it is not dead yet"
            let_finish()
            seen.await_all(Child, [stuck, later])
            order = [one.identity for one in seen if one.identity in {stuck, later}]
            assert order == [stuck, later]


def test_zombies_without_room_in_the_map_are_counted_as_lost():
    """Their reaping can only be found by a snapshot, which the count asks for."""
    with zombies(40) as family, started(map_entries=8) as source:
        before = source.losses()
        found = {Identity(*key[:2]) for key in source.snapshot().keys()}  # noqa: SIM118
        assert found >= {identity(pid) for pid in family.pids}
        assert source.losses().map_full - before.map_full >= 30
        assert source.losses().total > before.total


def test_waits_without_room_are_counted_and_not_denied():
    with zombies(20) as family, started(map_entries=8) as source, zombies(20):
        family.reap(10)
        assert source.losses().waits_lost >= 10
        assert source.waits(identity(family.parent_pid)) is None


@pytest.mark.parametrize("hook", HOOKS)
def test_a_skipped_run_of_any_hook_is_counted_where_it_matters(hook):
    """Skipped waits and execs leave the diagnosis unsure; it never denies a wait for certain."""
    skipped = iter([])

    def read(_descriptor):
        return b"prog_id:\t1\nrecursion_misses:\t%d\n" % next(skipped, 0)

    with zombies(1) as family, started(read_fdinfo=read) as source:
        parents = Parents(ProcFs(), source, cgroup_root=Path("/sys/fs/cgroup"))
        source.poll(boot_ns())
        assert parents.view(family.parent_pid, boot_ns()).complete
        skipped = iter([3 if name == hook else 0 for name in HOOKS])
        source.poll(boot_ns() + 2 * NS)
        losses = source.losses()
        counted = {
            "on_fork": losses.forks_lost,
            "on_wait": losses.waits_skipped,
            "on_exec": losses.waits_skipped,
        }
        assert counted.get(hook, losses.recursion_misses) == 3
        unsure = not parents.view(family.parent_pid, boot_ns() + 2 * NS).complete
        assert unsure == (hook in {"on_wait", "on_exec"})


def test_a_count_of_skipped_runs_that_cannot_be_read_stays_what_it_was():
    answers = iter([b"recursion_misses:\t7\n"] * len(HOOKS))

    def read(_descriptor):
        try:
            return next(answers)
        except StopIteration:
            raise OSError(24, os.strerror(24)) from None

    with started(read_fdinfo=read) as source:
        for later in (0, 2, 4):
            source.poll(boot_ns() + later * NS)
            assert source.losses().recursion_misses == 14


IN_A_PID_NAMESPACE = """
import os, sys, time
from tracer.clock import NS, boot_ns
from tracer.model import Child, Gone, Identity
from tracer.sources.core.source import CoreSource

def identity(pid):
    fields = open(f"/proc/{pid}/stat", "rb").read().rpartition(b")")[2].split()
    return Identity(pid, int(fields[19]))

def await_(kind, wanted):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for seen in source.poll(boot_ns()):
            if isinstance(seen, kind) and seen.identity == wanted:
                return seen
        time.sleep(0.01)
    sys.exit(f"no {kind.__name__} of {wanted}")

source = CoreSource(min_age_ns=NS // 5)
source.start()
parent = os.fork()
if parent == 0:
    child = os.fork()
    if child == 0:
        os._exit(3)
    for _ in range(3):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    sys.stdin.readline()
    os.waitpid(child, 0)
    time.sleep(60)
    os._exit(0)
while not (children := open(f"/proc/{parent}/task/{parent}/children").read().split()):
    time.sleep(0.01)
child = identity(int(children[0]))
seen = await_(Child, child)
assert (seen.parent_pid, seen.exit_status) == (parent, 3 << 8), seen
assert seen.forker.identity == identity(parent), seen
waits = source.waits(identity(parent))
assert (waits.any, waits.specific) == (3, 0), waits
assert source.forker(identity(parent)).identity == identity(os.getpid())
assert child in {Identity(*key[:2]) for key in source.snapshot().keys()}
sys.stdout.write("reap\\n")
sys.stdout.flush()
await_(Gone, child)
os.kill(parent, 9)
print("done")
"""


def test_in_another_pid_namespace_pids_are_those_of_its_proc():
    """Where the node is a container itself, its processes have other pids on the machine."""
    agent = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", IN_A_PID_NAMESPACE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        assert agent.stdout.readline() == "reap\n"
        agent.stdin.write("\n")
        agent.stdin.flush()
        assert agent.stdout.readline() == "done\n"
    finally:
        agent.kill()
        agent.wait()
        agent.stdin.close()
        agent.stdout.close()


def test_a_reaped_zombie_is_reported_gone_once():
    with started() as source, zombies(50) as family:
        seen = Seen(source)
        dead = [identity(pid) for pid in family.pids]
        seen.await_all(Child, dead)
        family.reap()
        seen.await_all(Gone, dead)
        gone = [one.identity for one in seen if isinstance(one, Gone) and one.identity in dead]
        assert sorted(gone) == sorted(dead)


def links_of(source):
    """Return the links of a started source's hooks, by name."""
    return dict(zip(HOOKS, source._links[-len(HOOKS) :], strict=True))


@pytest.mark.parametrize("older", [False, True])
def test_a_release_that_the_kernel_does_not_announce_is_found(older):
    """Linux 6.18 does not fire sched_process_free for all; here it fires for none."""
    with contextlib.ExitStack() as stack:
        if older:
            family = stack.enter_context(zombies(20))
        source = stack.enter_context(started(recheck_ns=NS // 2))
        if not older:
            family = stack.enter_context(zombies(20))
        links_of(source)["on_free"].destroy()
        dead, seen = [identity(pid) for pid in family.pids], Seen(source)
        if older:
            assert set(dead) <= {Identity(*key[:2]) for key in source.snapshot().keys()}  # noqa: SIM118
        else:
            seen.await_all(Child, dead)
        family.reap(10)
        seen.await_all(Gone, dead[:10])
        assert source.losses().releases_missed >= 10
        time.sleep(1)
        seen.extend(source.poll(boot_ns()))
        assert {one.identity for one in seen if isinstance(one, Gone)}.isdisjoint(dead[10:])


def test_entries_of_unannounced_releases_do_not_fill_the_map():
    """Nobody else would remove the entry of a process that was reaped at once."""
    with started() as source:
        links_of(source)["on_free"].destroy()
        pid = linux.fork(signal.pause)
        short = identity(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert source.forker(short) is not None
        seen = Seen(source)

        def removed():
            seen.extend(source.poll(boot_ns()))
            return source.forker(short) is None

        wait_until(removed, what="the removal of its entry")
        assert short not in {one.identity for one in seen}, "nobody knew of it"
