"""Which limits may have made fork fail, and what to do about it."""

import errno
import os
import resource
from pathlib import Path

from tracer.errors import PermanentError


def fork_failed(error: OSError, *, made: int, wanted: int) -> PermanentError:
    """Return the error that says how many were made, and which limits fork may have hit."""
    limits = "; ".join(_limits())
    remedy = f"the limits here are: {limits}; raise the lowest one, or lower --count"
    if error.errno == errno.ENOMEM:
        remedy = "each zombie takes about 10 KB of kernel memory; lower --count"
    return PermanentError(
        f"made only {made} of {wanted} zombies and cleaned them up, because "
        f"fork failed ({error.strerror}): {remedy}"
    )


def _limits() -> list[str]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    found = [
        f"{name} {value}"
        for name, value in (
            ("pids.max of this cgroup", _cgroup_pids_max()),
            ("kernel.pid_max", _read(Path("/proc/sys/kernel/pid_max"))),
            ("kernel.threads-max", _read(Path("/proc/sys/kernel/threads-max"))),
        )
        if value is not None
    ]
    if os.geteuid() != 0 and soft != resource.RLIM_INFINITY:
        found.append(f"ulimit -u {soft}")
    return found


def _cgroup_pids_max() -> str | None:
    """Return the lowest pids.max from this process's cgroup upwards; None when there is none."""
    values: list[int] = []
    for line in (_read(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "pids"}:
            continue
        root = Path("/sys/fs/cgroup") / controllers
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            text = _read(place / "pids.max")
            if text is not None and text.isdigit():
                values.append(int(text))
            if place == root:
                break
    return str(min(values)) if values else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
