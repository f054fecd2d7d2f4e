"""What /proc still shows of a zombie, read together and checked to be of one process."""

from typing import NamedTuple

from tracer.model import Identity
from tracer.procfs.fs import ProcFs
from tracer.procfs.parse import Stat, Status


class ZombieView(NamedTuple):
    """One reading of a zombie.

    Attributes:
        stat: /proc/PID/stat.
        status: /proc/PID/status; None when it could not be read.
        cgroup: /proc/PID/cgroup as the kernel wrote it; None when it could not be read.
    """

    stat: Stat
    status: Status | None
    cgroup: bytes | None


def read_zombie(proc: ProcFs, identity: Identity) -> ZombieView | None:
    """Read a zombie; None when it has been reaped, also when its pid is in use again.

    The start time is compared after the other files were read: only then do all of them
    belong to the process that was asked for.
    """
    status, cgroup = proc.status(identity.pid), proc.cgroup(identity.pid)
    stat = proc.stat(identity.pid)
    if stat is None or stat.start_ticks != identity.start_ticks:
        return None
    return ZombieView(stat, status, cgroup)
