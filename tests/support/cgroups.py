"""Real cgroups for tests, made in the mounted hierarchies and removed afterwards."""

import contextlib
import os
import time
from pathlib import Path

import pytest


def mounts(kind):
    """Where hierarchies are mounted: cgroup2 or cgroup (v1, by controller)."""
    found = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, filesystem, options, *_ = line.split()
        if filesystem == kind:
            found.append((Path(folder), options.split(",")))
    return found


def unified():
    """The mount of the v2 hierarchy, or skip (fail when the kernel's parts are required)."""
    return _need([folder for folder, _ in mounts("cgroup2")], "no cgroup2 mount")


def controller(name):
    """The mount of a v1 controller, or skip."""
    found = [folder for folder, options in mounts("cgroup") if name in options]
    return _need(found, f"no cgroup v1 controller {name} mounted")


def _need(found, reason):
    if not found or os.geteuid() != 0:
        missing(reason if not found else "needs root to make cgroups")
    return found[0]


def missing(reason):
    """Skip, or fail when the kernel's parts are required."""
    if os.environ.get("TRACER_REQUIRE_KERNEL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def cgroup(mount, path):
    """Make a cgroup and those above it; on leaving remove what of it is empty."""
    folder = mount / path.lstrip("/")
    made = []
    for one in [*reversed(folder.relative_to(mount).parents), folder.relative_to(mount)]:
        with contextlib.suppress(FileExistsError):
            (mount / one).mkdir()
            made.append(mount / one)
    try:
        yield folder
    finally:
        for one in reversed(made):
            remove(one)


def remove(folder, seconds=5.0):
    """Remove a cgroup; wait while its last processes leave, unless others made some in it."""
    deadline = time.monotonic() + seconds
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            others = any(entry.is_dir() for entry in folder.iterdir())
            if others or time.monotonic() > deadline:
                return
            time.sleep(0.01)


def joining(*folders):
    """A wrapper for zombies(): the parent lives in these cgroups and in a new pid namespace."""
    join = "; ".join(f"echo $$ > {folder}/cgroup.procs" for folder in folders)
    return ("sh", "-ec", f'{join}; exec unshare --pid --fork --kill-child "$@"', "sh")
