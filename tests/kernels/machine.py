"""One boot of one kernel: QEMU in software emulation, two serial ports, two timeouts."""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import roots
from releases import HarnessError, Kernel

REPOSITORY = Path(__file__).resolve().parents[2]
PAYLOAD = ("tracer", "bpf", "tests/conformance", "tests/kernels")
"""Folders of the repository that guests get, at /payload."""
BOOT_SECONDS = 120
"""Allowed on top of the command's own time: a boot takes 2 to 5 s when the machine is idle."""

BOOTS = 3
"""Attempts at a kernel that panics before the guest's init has run anything. Emulated with two
processors, a kernel does that once in a while (on 7.2, in the scheduler); what the project does
cannot be the reason, and cannot be hidden by another attempt."""

_STALE_SECONDS = 4 * 3600
_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "cpio": "cpio",
    "busybox": "busybox-static",
    "mke2fs": "e2fsprogs",
    "dpkg-deb": "dpkg",
}
# The guests end with the harness, however it ends.
# Never KVM: where /dev/kvm is itself emulated, Debian's kernels stall on it.
_QEMU = (
    "setpriv --pdeathsig KILL qemu-system-x86_64 -accel tcg -cpu max -smp 2 -nodefaults -no-user-config "
    "-display none -no-reboot -nic none"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one boot.

    Attributes:
        kernel: which.
        release: `uname -r` in the guest; None when it never got that far.
        status: the command's exit status; None when no line came.
        output: what the command printed.
        console: the guest's console.
        seconds: from starting QEMU to its end.
        timed_out: the outer timeout ended it.
    """

    kernel: Kernel
    release: str | None
    status: int | None
    output: str
    console: str
    seconds: float
    timed_out: bool

    @property
    def panicked_early(self) -> bool:
        """Whether the kernel panicked before the guest's init reported its start."""
        return self.release is None and "Kernel panic" in self.console

    @property
    def result(self) -> str:
        """One phrase for the table."""
        if self.status == 0:
            return "ok"
        if self.status in (124, 143):
            return "FAILED: ran into its timeout"
        if self.status is not None:
            return f"FAILED: exit status {self.status}"
        if self.timed_out:
            return "FAILED: no status came in time"
        reason = "panicked" if "Kernel panic" in self.console else "ended"
        return f"FAILED: the guest {reason} without a status"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run in the guests.

    Attributes:
        command: argv, run in /payload.
        extra: further files or folders of the repository for the payload.
        large: with bcc.
        timeout_seconds: for the command, inside the guest.
    """

    command: Sequence[str]
    extra: Sequence[str]
    large: bool
    timeout_seconds: int


def pack(plan: Plan, scratch: Path) -> Path:
    """Pack the payload as a cpio and return where it is."""
    tree = scratch / "tree"
    payload = tree / "payload"
    for name in (*PAYLOAD, *plan.extra):
        source = REPOSITORY / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache")
            shutil.copytree(source, payload / name, ignore=ignored, dirs_exist_ok=True)
        elif source.exists():
            (payload / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, payload / name)
        elif name in plan.extra:
            raise HarnessError(f"--payload {name}: no such file in the repository")
    guest = payload / ".guest"
    guest.mkdir(parents=True)
    (guest / "command").write_text(f"exec {shlex.join(plan.command)}\n")
    (guest / "settings").write_text(f"GUEST_TIMEOUT={plan.timeout_seconds}\n")
    if plan.large:  # what it takes to reach the disk
        roots.make_base(tree)
        (tree / "large").touch()
        shutil.copy("/usr/bin/busybox", tree / "usr/bin")
    target = scratch / "payload.cpio"
    roots.pack_cpio(tree, target)
    return target


def prepare(plan: Plan, cache: Path, scratch: Path) -> list[str]:
    """Return QEMU's arguments that give a guest its root and its payload."""
    missing = [f"{tool} ({package})" for tool, package in _TOOLS.items() if not shutil.which(tool)]
    if missing:
        raise HarnessError(
            f"not installed: {', '.join(missing)}; apt-get install --no-install-recommends the packages"
        )
    payload = pack(plan, scratch)
    # no_timer_check: on a busy machine the emulated timer is late, and 5.10 panics over it.
    line = "console=ttyS0 panic=-1 quiet no_timer_check"
    if plan.large:
        drive = f"file={roots.disk(cache)},if=none,id=root,format=raw,readonly=on"
        disk = ["-drive", drive, "-device", "nvme,drive=root,serial=root"]
        return [*disk, "-initrd", str(payload), "-m", "1024", "-append", line]
    initrd = scratch / "initrd"
    with initrd.open("wb") as out:
        for part in (roots.initramfs(cache), payload):
            with part.open("rb") as source:
                shutil.copyfileobj(source, out)
    return ["-initrd", str(initrd), "-m", "512", "-append", line]


def boot(kernel: Kernel, plan: Plan, arguments: Sequence[str], scratch: Path) -> Outcome:
    """Boot, run the command, and return what came of it."""
    for left in reversed(range(BOOTS)):
        outcome = boot_once(kernel, plan, arguments, scratch)
        if not (left and outcome.panicked_early):
            break
        print(f"{kernel.label}: panicked before init ran; booting it again", flush=True)
    return outcome


def boot_once(kernel: Kernel, plan: Plan, arguments: Sequence[str], scratch: Path) -> Outcome:
    """Boot once, and return what came of it."""
    console, result = (scratch / f"{kernel.label}.{name}" for name in ("console", "result"))
    command = [
        *_QEMU.split(),
        *("-serial", f"file:{console}", "-serial", f"file:{result}"),
        *("-kernel", str(kernel.vmlinuz)),
        *arguments,
    ]
    result.unlink(missing_ok=True)
    began = time.monotonic()
    timed_out = False
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=plan.timeout_seconds + BOOT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        timed_out = True
    else:
        if done.returncode:
            raise HarnessError(f"QEMU failed: {done.stderr.strip()}")
    seconds = time.monotonic() - began
    release, output, status = parse(_text(result))
    return Outcome(kernel, release, status, output, _text(console), seconds, timed_out)


def parse(text: str) -> tuple[str | None, str, int | None]:
    """Split what came over the second port into release, the command's output and its status."""
    began = re.match(r"@started (\S+)\n", text)
    ended = re.search(r"\n@status (\d+)\n\Z", text)
    output = text[began.end() if began else 0 : ended.start() if ended else len(text)]
    return began and began[1], output, int(ended[1]) if ended else None


def sweep(cache: Path) -> None:
    """Remove what runs left behind that were killed: their folders are over a few hours old."""
    for folder in (*cache.glob("run-*"), *cache.glob("root-*"), *cache.glob("apt-*")):
        if time.time() - folder.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="backslashreplace")
    except FileNotFoundError:
        return ""
