"""Real zombies for tests: made fast, by a parent that obeys, gone when the test is.

    with zombies(10) as family:
        family.pids          # ten dead children, unreaped, checked in /proc
        family.reap(3)       # the parent waits for three of them
        family.spawn(5)      # five more
    # the parent has reaped the rest and ended

The parent ends when its stdin does, so a killed test run leaves nothing behind.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

DEADLINE_SECONDS = 15.0

_PARENT = r"""
import os, sys
comm = None
def spawn(count, status, comm):
    pids = []
    for _ in range(count):
        pid = os.fork()
        if not pid:
            if comm:
                with open("/proc/self/comm", "w") as f:
                    f.write(comm)
            if status < 0:
                os.kill(os.getpid(), -status)
            os._exit(status)
        pids.append(pid)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pids
for line in sys.stdin:
    word, count, status, comm = line.rstrip("\n").split(" ", 3)
    if word == "spawn":
        done = spawn(int(count), int(status), comm)
    else:
        done = [os.wait()[0] for _ in range(int(count))]
    print(*done, flush=True)
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
"""

T = TypeVar("T")


def wait_until(
    probe: Callable[[], T], *, timeout: float = DEADLINE_SECONDS, what: str = "the condition"
) -> T:
    """Call until it returns something true, and return that; fail after the deadline."""
    deadline = time.monotonic() + timeout
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(0.005)


def stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; None when the pid is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b") ")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def state(pid: int) -> str | None:
    """Return the state letter of a process; None when it is gone."""
    fields = stat_fields(pid)
    return fields[0] if fields else None


def start_ticks(pid: int) -> int:
    """Return the start time of a process, as in its Identity."""
    fields = stat_fields(pid)
    assert fields, f"no process {pid}"
    return int(fields[19])


def children(parent_pid: int) -> dict[int, str]:
    """Return the children of a process, with their states, as the host's /proc shows them."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := stat_fields(int(name))) and int(fields[1]) == parent_pid:
            found[int(name)] = fields[0]
    return found


def zombie_children(parent_pid: int) -> list[int]:
    """Return the dead, unreaped children of a process, smallest pid first."""
    return sorted(pid for pid, letter in children(parent_pid).items() if letter == "Z")


def _is_parent(pid: int) -> bool:
    """Whether a process runs the program of a family's parent."""
    try:
        return _PARENT.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@dataclass
class Family:
    """A living parent and its dead children.

    Attributes:
        parent_pid: the parent, host pid.
        pids: its zombies, host pids, in the order of their birth (by pid, in a pid namespace).
    """

    process: "subprocess.Popen[str]"
    parent_pid: int
    translated: bool = False
    pids: list[int] = field(default_factory=list)

    def spawn(self, count: int = 1, *, status: int = 0, comm: str = "") -> list[int]:
        """Make more zombies that exited with this status, or by this signal when negative."""
        born = self._ask(f"spawn {count} {status} {comm}")
        if self.translated:
            born = [pid for pid in zombie_children(self.parent_pid) if pid not in set(self.pids)]
        self.pids += born
        return born

    def reap(self, count: int | None = None) -> list[int]:
        """Let the parent wait for some of its zombies, or for all; return those that are gone."""
        self._ask(f"reap {len(self.pids) if count is None else count} 0 ")
        left = set(zombie_children(self.parent_pid))
        gone = [pid for pid in self.pids if pid not in left]
        self.pids = [pid for pid in self.pids if pid in left]
        return gone

    def kill_parent(self) -> None:
        """Kill the parent: init, or a subreaper, adopts and reaps its zombies."""
        os.kill(self.parent_pid, 9)
        self.process.wait(DEADLINE_SECONDS)
        self.pids = []

    def _ask(self, line: str) -> list[int]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the parent of the test's zombies died"
        return [int(word) for word in answer.split()]


@contextlib.contextmanager
def zombies(
    count: int = 1, *, status: int = 0, comm: str = "", wrapper: Sequence[str] = ()
) -> Iterator[Family]:
    """Make a parent with so many zombies; end it, and them, on leaving.

    Args:
        count: how many at first; may be 0.
        status: exit code of the children; negative: the signal that kills them.
        comm: the name of the children; else they are called as their parent, python3….
        wrapper: what the parent is started with, such as `("unshare", "--pid", "--fork")`;
            then it is the wrapper's child and pids are translated to the host's.
    """
    process = subprocess.Popen(
        [*wrapper, sys.executable, "-I", "-S", "-c", _PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        parent_pid = process.pid
        if wrapper:
            # A shell among the wrappers has other children before (mkdir).
            [parent_pid] = wait_until(
                lambda: list(filter(_is_parent, children(process.pid))),
                what=f"a child of {wrapper[0]}",
            )
        family = Family(process, parent_pid, translated=bool(wrapper))
        family.spawn(count, status=status, comm=comm)
        assert [state(pid) for pid in family.pids] == ["Z"] * count
        yield family
    finally:
        assert process.stdin
        assert process.stdout
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(DEADLINE_SECONDS)
        finally:
            process.kill()
            process.stdout.close()
