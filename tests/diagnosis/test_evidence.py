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
from tracer.model import BlockedWait, Identity, WaitFor, Zombie
from tracer.procfs.cgroup_freezer import is_frozen, parse_membership
from tracer.procfs.fs import ProcFs
from tracer.procfs.wait_calls import parse_syscall
from tracer.sources.proc.source import ProcSource


class CountingProc(ProcFs):
    """Counts reads, apart for one process."""

    def __init__(self, pid):
        super().__init__()
        self.pid, self.of_it, self.all = pid, 0, 0

    def read(self, name):
        self.all += 1
        self.of_it += name.startswith(f"{self.pid}/")
        return super().read(name)


def sight(proc):
    source = ProcSource(proc, 0)
    source.start()
    return source


def zombies_of(source, parent_pid):
    snapshot = source.snapshot()
    children = [snapshot.child(i) for i, _ in enumerate(snapshot.keys())]
    now = boot_ns()
    return [Zombie(c, now, now) for c in children if c.parent_pid == parent_pid], now


def test_a_thousand_zombies_cost_one_parents_evidence():
    """The parent is read for the first one only; each zombie is read twice."""
    with zombies(1000) as family:
        proc = CountingProc(family.parent_pid)
        source = sight(proc)
        found, now = zombies_of(source, family.parent_pid)
        assert len(found) == 1000
        investigator = Investigator(proc, source)
        proc.of_it = 0
        investigator.investigate(found[0], None, now, 999)
        for_one, proc.all = proc.of_it, 0
        assert 0 < for_one < 20
        for zombie in found[1:]:
            assert investigator.investigate(zombie, None, now, 999).parent is not None
        assert proc.of_it == for_one
        assert proc.all <= 2 * 999
        investigator.investigate(found[0], None, now + KEPT_NS, 999)
        assert proc.of_it == 2 * for_one


def test_evidence_of_a_parent_is_newer_than_the_death():
    """What was gathered before a zombie died says nothing of how it was left."""
    with zombies(1) as family:
        proc = CountingProc(family.parent_pid)
        source = sight(proc)
        [zombie], now = zombies_of(source, family.parent_pid)
        investigator = Investigator(proc, source)
        investigator.parent(family.parent_pid, now)
        before = proc.of_it
        investigator.parent(family.parent_pid, now + 1, zombie.child.exit_boot_ns)
        assert proc.of_it == before
        investigator.parent(family.parent_pid, now + 2, now + 1)
        assert proc.of_it > before


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
        investigator = Investigator(proc, sight(proc))

        def view():
            return investigator.parent(process.pid, boot_ns() + KEPT_NS, boot_ns() + KEPT_NS)

        wait_until(lambda: view().blocked, what="a wait call")
        [call] = view().blocked
        living = [pid for pid in proc.children(process.pid) if proc.stat(pid).state != "Z"]
        assert (call.wanted, call.number) == (WaitFor.PROCESS, living[0])
        assert view().process.blocked_wait == living[0]
    finally:
        for pid in proc.children(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


def test_a_reaped_zombie_is_told_as_gone():
    with zombies(2) as family:
        proc = ProcFs()
        source = sight(proc)
        found, now = zombies_of(source, family.parent_pid)
        family.reap(1)
        evidence = [Investigator(proc, source).gather(z, None, now, 1) for z in found]
        assert sorted(one.gone for one in evidence) == [False, True]


def test_a_parent_that_died_is_followed():
    """The source told the parent at death; the zombie's own stat tells who has it now."""
    with zombies(1) as family:
        proc = ProcFs()
        source = sight(proc)
        [zombie], now = zombies_of(source, family.parent_pid)
        stale = Zombie(
            zombie.child.__class__(
                Identity(family.pids[0], start_ticks(family.pids[0])), 4_000_000, 0
            ),
            now,
        )
        finding = Investigator(proc, source).investigate(stale, None, now, 0)
        assert finding.parent.identity.pid == family.parent_pid
        assert finding.evidence.child.parent_pid == family.parent_pid


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
    """v2 tells it in cgroup.events, v1 in freezer.state; a path of another namespace tells nothing."""
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
