"""What the kernel keeps of living processes: how they waited, and who forked them."""

from tracer.clock import ticks
from tracer.model import Forker, Identity, Waits
from tracer.sources.core import wire
from tracer.sources.core.maps import Map


class Processes:
    """The map `processes`, looked up by Identity.

    Args:
        processes: the map.
        host_pids: host pids by the agent's; None where these are the same.
    """

    def __init__(self, processes: Map, host_pids: Map | None) -> None:
        self._processes = processes
        self._host_pids = host_pids

    def get(self, identity: Identity) -> wire.ProcessWire | None:
        """Return the entry of a process; None when there is none.

        Raises:
            TemporaryError, PermanentError: the map could not be read.
        """
        for start in wire.starts(identity.start_ticks):
            host_pid = self._host_pid(identity.pid, start)
            if host_pid is None:
                continue
            raw = self._processes.lookup(wire.PROCESS_KEY.pack(host_pid, start))
            if raw is None:
                continue
            process = wire.ProcessWire._make(wire.PROCESS.unpack(raw))
            if ticks(process.start_ns) == identity.start_ticks:
                return process
        return None

    def _host_pid(self, pid: int, start: int) -> int | None:
        if self._host_pids is None:
            return pid
        raw = self._host_pids.lookup(wire.PROCESS_KEY.pack(pid, start))
        return None if raw is None else int(wire.HOST_PID.unpack(raw)[0])


def waits_of(process: wire.ProcessWire | None, attached_boot_ns: int) -> Waits:
    """Return how a process waited since we attached, or since its start or exec if later.

    Args:
        process: its entry; None for a process that is older than us and has not waited.
        attached_boot_ns: when we attached.
    """
    if process is None:
        return Waits(0, 0, None, None, None, 0, 0, 0, attached_boot_ns)
    return Waits(
        any=process.waits_any,
        specific=process.waits_specific,
        last_boot_ns=process.last_wait_ns or None,
        last_any_boot_ns=process.last_wait_any_ns or None,
        last_specific_pid=process.last_wait_pid or None,
        reaped=process.reaped,
        reaped_late=process.reaped_late,
        reaped_late_ns=process.reaped_late_ns,
        watched_since_boot_ns=max(attached_boot_ns, process.start_ns, process.exec_ns),
        exec_boot_ns=process.exec_ns or None,
    )


def forker_of(record: wire.ProcessWire | wire.ZombieWire) -> Forker | None:
    """Return who forked a process; None when that was not seen."""
    if not record.forker_pid:
        return None
    identity = Identity(record.forker_pid, ticks(record.forker_start_ns))
    return Forker(identity, wire.text(record.forker_comm))
