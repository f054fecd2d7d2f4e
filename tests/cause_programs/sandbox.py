"""Runs the cause programs together, each in a cgroup of its own that identifies its zombies."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cause_programs.cases import PROGRAMS, Case, Toolchain

CGROUP_MOUNTS = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
FREEZER = Path("/sys/fs/cgroup/freezer")
_COPIES = ("containerd-shim-runc-v2", "conmon")


def cgroup_mount() -> Path | None:
    """Return where cgroup2 is mounted and may be written; None without."""
    for mount in CGROUP_MOUNTS:
        if (mount / "cgroup.procs").exists() and (mount / "cgroup.controllers").exists():
            return mount if os.access(mount, os.W_OK) else None
    return None


def build_toolchain(folder: Path) -> Toolchain:
    """Compile what the cases need into a folder."""
    toolchain = Toolchain(folder)
    source = PROGRAMS / "causes.c"
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Wextra", "-o", toolchain.causes, source, "-pthread"], check=True
    )
    for name in _COPIES:
        shutil.copy(toolchain.causes, folder / name)
    if shutil.which("go"):
        environment = os.environ | {"GOCACHE": str(folder / "go"), "GO111MODULE": "off"}
        subprocess.run(
            ["go", "build", "-o", folder / "starts", PROGRAMS / "starts.go"],
            check=True,
            env=environment,
        )
    if shutil.which("javac"):
        subprocess.run(["javac", "-d", folder, PROGRAMS / "Pid1.java"], check=True)
    os.mkfifo(folder / "fifo")
    return toolchain


@dataclass
class RunningCase:
    """A running case.

    Attributes:
        case: which.
        path: of its cgroup, as /proc shows it.
        folder: of its cgroup.
        process: its command.
    """

    case: Case
    path: str
    folder: Path
    process: "subprocess.Popen[bytes]"
    frozen: list[Path] = field(default_factory=list)


@dataclass
class Sandbox:
    """All cases of one run."""

    toolchain: Toolchain
    running: list[RunningCase]

    def after_start(self) -> None:
        """Do what a case does some time after its start: join from outside, freeze."""
        for one in self.running:
            if one.case.then is not None:
                init = _only_child(one.process.pid)
                _start(one.case.then(self.toolchain, init), one.folder, self.toolchain).wait()
            if one.case.freeze == "v2":
                inner = one.folder / "frozen"
                inner.mkdir()
                (inner / "cgroup.procs").write_text(str(one.process.pid))
                (inner / "cgroup.freeze").write_text("1")
                one.frozen.append(inner)
            if one.case.freeze == "v1":
                inner = FREEZER / one.folder.name
                inner.mkdir()
                (inner / "cgroup.procs").write_text(str(one.process.pid))
                (inner / "freezer.state").write_text("FROZEN")
                one.frozen.append(inner)

    def close(self) -> None:
        """Thaw, kill and remove everything."""
        for one in self.running:
            for folder in one.frozen:
                name, word = (
                    ("cgroup.freeze", "0")
                    if (folder / "cgroup.freeze").exists()
                    else (
                        "freezer.state",
                        "THAWED",
                    )
                )
                (folder / name).write_text(word)
        deadline = time.monotonic() + 15
        for one in self.running:
            while pids := _members(one.folder):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                assert time.monotonic() < deadline, f"{one.case.name} does not end"
                time.sleep(0.005)
            one.process.wait(10)
            if one.process.stdin:
                one.process.stdin.close()
            for folder in [*one.frozen, one.folder]:
                _remove(folder, deadline)


def _members(folder: Path) -> list[int]:
    found = []
    for path in [folder, *(child for child in folder.iterdir() if child.is_dir())]:
        found += [int(word) for word in (path / "cgroup.procs").read_text().split()]
    return found


def _remove(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _start(command: Sequence[str], folder: Path, toolchain: Toolchain) -> "subprocess.Popen[bytes]":
    """Start a command as a member of a cgroup: it joins before it executes."""
    enter = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
    return subprocess.Popen(
        ["bash", "-c", enter, "enter", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"FIFO": str(toolchain.folder / "fifo")},
    )


def _only_child(pid: int) -> int:
    deadline = time.monotonic() + 10
    path = Path(f"/proc/{pid}/task/{pid}/children")
    while not (words := path.read_text().split()):
        assert time.monotonic() < deadline, f"{pid} has no child"
        time.sleep(0.01)
    return int(words[0])


@contextlib.contextmanager
def sandbox(cases: Sequence[Case], toolchain: Toolchain) -> Iterator[Sandbox]:
    """Start all cases; on leaving, end them and whatever they left."""
    mount = cgroup_mount()
    assert mount is not None
    running: list[RunningCase] = []
    whole = Sandbox(toolchain, running)
    run = time.monotonic_ns()
    try:
        for index, case in enumerate(cases):
            name = f"tracer-causes-{run}-{index}"
            folder = mount / name
            folder.mkdir()
            process = _start(case.command(toolchain), folder, toolchain)
            running.append(RunningCase(case, f"/{name}", folder, process))
        yield whole
    finally:
        whole.close()
