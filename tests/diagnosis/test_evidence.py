"""Evidence gathered from real processes, and what gathering it costs."""

import os
import signal
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.zombies import start_ticks, wait_until, zombies

from tracer.clock import boot_ns
from tracer.diagnosis.evidence import Investigator
from tracer.diagnosis.parent import KEPT_NS
from tracer.model import BlockedWait, Identity, WaitFor, Waits, Zombie
from tracer.procfs.cgroup_freezer import is_frozen, parse_membership
from tracer.procfs.fs import ProcFs
from tracer.procfs.wait_calls import parse_syscall
from tracer.procfs.zombie import read_zombie
from tracer.sources.proc.source import ProcSource


class CountingProc(ProcFs):
    """Counts all reads, and those of one process."""

    def __init__(self, pid):
        super().__init__()
        self.pid, self.of_pid, self.all = pid, 0, 0

    def read(self, name):
        self.all += 1
        self.of_pid += name.startswith(f"{self.pid}/")
        return super().read(name)


def proc_source(proc):
    source = ProcSource(proc, 0)
    source.start()
    return source


def zombies_of(source, parent_pid):
    snapshot = source.snapshot()
    children = [snapshot.child(i) for i, _ in enumerate(snapshot.keys())]
    now = boot_ns()
    return [Zombie(c, now, now) for c in children if c.parent_pid == parent_pid], now


def test_a_thousand_zombies_cost_one_parents_evidence():
    """The parent is read for the first one only; a zombie's view is all that is read of it."""
    with zombies(1000) as family:
        proc = CountingProc(family.parent_pid)
        source = proc_source(proc)
        found, now = zombies_of(source, family.parent_pid)
        assert len(found) == 1000
        investigator = Investigator(proc, source)
        proc.of_pid = 0
        views = [read_zombie(proc, zombie.child.identity) for zombie in found]
        investigator.investigate(found[0], None, now, 999, views[0])
        for_one, proc.all = proc.of_pid, 0
        assert 0 < for_one < 20
        for zombie, view in zip(found[1:], views[1:], strict=True):
            assert investigator.investigate(zombie, None, now, 999, view).parent is not None
        assert proc.of_pid == for_one
        assert proc.all == 0
        investigator.investigate(found[0], None, now + KEPT_NS, 999, views[0])
        assert proc.of_pid == 2 * for_one


def test_evidence_of_a_parent_is_newer_than_the_death():
    """What was gathered before a zombie exited says nothing about it."""
    with zombies(1) as family:
        proc = CountingProc(family.parent_pid)
        source = proc_source(proc)
        [zombie], now = zombies_of(source, family.parent_pid)
        investigator = Investigator(proc, source)
        investigator.parent(family.parent_pid, now)
        before = proc.of_pid
        investigator.parent(family.parent_pid, now + 1, zombie.child.exit_boot_ns)
        assert proc.of_pid == before
        investigator.parent(family.parent_pid, now + 2, now + 1)
        assert proc.of_pid > before


def test_a_parent_blocked_for_one_child_is_seen_in_the_call():
    """The pid in the call is the one that the parent uses."""
    script = (
        "import os, time\n"
        "a = os.fork()\n"
        "if not a: time.sleep(60); os._exit(0)\n"
        "if not os.fork(): os._exit(0)\n"
        "os.waitpid(a, 0)"
    )
    process = subprocess.Popen(["/usr/bin/python3", "-I", "-S", "-c", script])
    try:
        proc = ProcFs()
        investigator = Investigator(proc, proc_source(proc))

        def view():
            return investigator.parent(process.pid, boot_ns() + KEPT_NS, boot_ns() + KEPT_NS)

        wait_until(lambda: view().blocked, what="a wait call")
        [call] = view().blocked
        living = [pid for pid in proc.children(process.pid) if proc.stat(pid).state != "Z"]
        assert (call.wanted, call.number) == (WaitFor.PROCESS, living[0])
    finally:
        for pid in proc.children(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def test_a_reaped_zombie_is_gone():
    with zombies(2) as family:
        proc = ProcFs()
        source = proc_source(proc)
        found, now = zombies_of(source, family.parent_pid)
        family.reap(1)
        views = [read_zombie(proc, zombie.child.identity) for zombie in found]
        investigator = Investigator(proc, source)
        evidence = [
            investigator.gather(zombie, None, now, 1, view)
            for zombie, view in zip(found, views, strict=True)
        ]
        assert sorted(one.gone for one in evidence) == [False, True]


def test_a_parent_that_died_is_followed():
    """The source reports the parent at the exit; the zombie's own stat has the one of now."""
    with zombies(1) as family:
        proc = ProcFs()
        source = proc_source(proc)
        [zombie], now = zombies_of(source, family.parent_pid)
        stale = Zombie(
            zombie.child.__class__(
                Identity(family.pids[0], start_ticks(family.pids[0])), 4_000_000, 0
            ),
            now,
        )
        view = read_zombie(proc, zombie.child.identity)
        finding = Investigator(proc, source).investigate(stale, None, now, 0, view)
        assert finding.parent.identity.pid == family.parent_pid
        assert finding.evidence.child.parent_pid == family.parent_pid


class CurrentSource:
    """Delegates to whichever source is current, as the agent's supervisor does."""

    def __init__(self, source):
        self.current = source

    def __getattr__(self, name):
        return getattr(self.current, name)


class NewSource(ProcSource):
    """A source that was attached later, and has observed no wait call yet."""

    def __init__(self, proc, attached_boot_ns):
        super().__init__(proc, 0)
        self.name, self.attached_boot_ns = "core", attached_boot_ns

    def waits(self, identity):
        return Waits(0, 0, None, None, None, 0, 0, 0, self.attached_boot_ns)


def test_what_one_source_observed_is_not_used_for_the_next():
    """Neither after a fallback, nor when the same source is attached again."""
    with zombies(1) as family:
        proc = ProcFs()
        current = CurrentSource(proc_source(proc))
        investigator = Investigator(proc, current)
        now = boot_ns()
        assert investigator.parent(family.parent_pid, now).waits is None
        for attached in (now, now + 1):
            current.current = NewSource(proc, attached)
            waits = investigator.parent(family.parent_pid, now + 2).waits
            assert waits.watched_since_boot_ns == attached


@pytest.mark.parametrize(
    ("raw", "machine", "call"),
    [
        (
            b"61 0xffffffffffffffff 0x0 0x1 0x0 0x0 0x0 0x7f 0x7f\n",
            "x86_64",
            (WaitFor.ANY, None, 1),
        ),
        (b"61 0xffffffff 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "x86_64", (WaitFor.ANY, None, 0)),
        (b"61 0x1f 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "x86_64", (WaitFor.PROCESS, 31, 0)),
        (b"61 0x0 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "x86_64", (WaitFor.GROUP, None, 0)),
        (b"61 0xffffffffffffffe1 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f", "x86_64", (WaitFor.GROUP, 31, 0)),
        (b"247 0x0 0x0 0x0 0x4 0x0 0x0 0x7f 0x7f\n", "x86_64", (WaitFor.ANY, None, 4)),
        (b"247 0x1 0x1f 0x0 0x4 0x0 0x0 0x7f 0x7f\n", "x86_64", (WaitFor.PROCESS, 31, 4)),
        (b"247 0x2 0x0 0x0 0x4 0x0 0x0 0x7f 0x7f\n", "x86_64", (WaitFor.GROUP, None, 4)),
        (b"95 0x3 0x5 0x0 0x4 0x0 0x0 0x7f 0x7f\n", "aarch64", (WaitFor.PROCESS, None, 4)),
        (b"95 0x0 0x0 0x0 0x4 0x0 0x0 0x7f 0x7f\n", "x86_64", None),
        (b"running\n", "x86_64", None),
        (b"-1 0x7f 0x7f\n", "x86_64", None),
        (b"61 0x1f 0x0 0x0 0x0 0x0 0x0 0x7f 0x7f\n", "sparc64", None),
        (b"", "x86_64", None),
    ],
)
def test_wait_calls_are_parsed(raw, machine, call):
    assert parse_syscall(raw, machine) == (None if call is None else BlockedWait(*call))


@given(st.binary(max_size=80))
def test_any_syscall_file_is_parsed(raw):
    parse_syscall(raw, "x86_64")


def test_membership_and_freezing(tmp_path):
    """v2 has it in cgroup.events, v1 in freezer.state; a path of another namespace says nothing."""
    raw = b"9:name=systemd:/a:b\n6:freezer:/dx\n0::/a:b/c\n"
    assert parse_membership(raw) == ("/a:b/c", "/dx")
    (tmp_path / "unified/a:b/c").mkdir(parents=True)
    events = tmp_path / "unified/a:b/c/cgroup.events"
    events.write_text("populated 1\nfrozen 0\n")
    assert is_frozen(parse_membership(raw), None, tmp_path) is False
    assert is_frozen(parse_membership(raw), "__refrigerator", tmp_path) is True
    events.write_text("populated 1\nfrozen 1\n")
    assert is_frozen(parse_membership(raw), None, tmp_path) is True
    (tmp_path / "freezer/dx").mkdir(parents=True)
    (tmp_path / "freezer/dx/freezer.state").write_text("FROZEN\n")
    assert is_frozen(parse_membership(b"6:freezer:/dx\n"), None, tmp_path) is True
    assert is_frozen(parse_membership(b"0::/../../x\n"), None, tmp_path) is None
