"""The least that must work in a guest: the core source loads, sees a death, and sees it reaped.

Prints one line for each stage, so that the last one shows how far it came.
"""

import os
import sys
import time
from pathlib import Path

from tracer.clock import NS, boot_ns
from tracer.model import Child, Gone
from tracer.sources.core.source import CoreSource

DEADLINE_SECONDS = 20
CGROUPS = Path("/sys/fs/cgroup")


def main() -> int:
    """Return 0 when every stage was reached."""
    print(f"kernel {os.uname().release}, python {sys.version.split()[0]}")
    source = CoreSource(min_age_ns=NS // 10)
    began = time.monotonic()
    source.start()
    print(f"started in {time.monotonic() - began:.2f} s")
    cgroup = make_cgroup()
    pid = os.fork()
    if pid == 0:
        if cgroup:
            cgroup.joinpath("cgroup.procs").write_text("0")
        os._exit(42)
    child = await_observation(
        source, lambda seen: isinstance(seen, Child) and seen.identity.pid == pid
    )
    print(f"saw {child}")
    snapshot = source.snapshot()
    assert pid in {key[0] for key in snapshot.keys()}, "the task iterator did not show it"  # noqa: SIM118
    assert child.exit_status == 42 << 8, child.exit_status
    assert child.exit_boot_ns is not None
    assert child.forker is not None
    assert child.forker.identity.pid == os.getpid()
    if cgroup:
        assert child.cgroup is not None
        assert child.cgroup.path == f"/{cgroup.relative_to(CGROUPS)}", child.cgroup
    os.waitpid(pid, 0)
    gone = await_observation(
        source, lambda seen: isinstance(seen, Gone) and seen.identity == child.identity
    )
    print(f"saw {gone}")
    print(f"losses {source.losses()}")
    source.close()
    return 0


def make_cgroup():
    """Return a new cgroup as the kubelet would name it; None where v2 is not alone (here, not in guests)."""
    if not (CGROUPS / "cgroup.procs").exists():
        return None
    cgroup = CGROUPS / "kubepods.slice/kubepods-besteffort.slice"
    cgroup.mkdir(parents=True, exist_ok=True)
    return cgroup


def await_observation(source, wanted):
    """Return the first observation that is wanted, or fail at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        for seen in source.poll(boot_ns()):
            if wanted(seen):
                return seen
        time.sleep(0.05)
    raise AssertionError(f"nothing came in {DEADLINE_SECONDS} s")


if __name__ == "__main__":
    sys.exit(main())
