"""The records of the ring buffer and of snapshots, as what a source reports."""

from tracer.clock import ticks
from tracer.model import Cgroup, CgroupOrigin, Child, Gone, Identity, Observation, OriginKind
from tracer.sources.core import wire
from tracer.sources.core.cgroup_names import CgroupNames
from tracer.sources.core.history import forker_of
from tracer.sources.core.young import YoungZombies

_ORIGINS = {wire.ORIGIN_INIT: OriginKind.INIT, wire.ORIGIN_SETNS: OriginKind.SETNS}


class Records:
    """Unpacks records.

    Attributes:
        young: those below the minimum age; they are not observations yet.
        parse_errors: records of an unknown type, or shorter than their type.
    """

    def __init__(self, cgroups: CgroupNames) -> None:
        self._cgroups = cgroups
        self.young = YoungZombies(self.child)
        self.parse_errors = 0

    def observations(self, records: list[bytes]) -> list[Observation]:
        """Unpack records of the ring buffer; those that cannot be are left out and counted."""
        return [seen for seen in map(self._observation, records) if seen is not None]

    def _observation(self, record: bytes) -> Observation | None:
        body = record[wire.HEADER.size :]
        (kind,) = wire.HEADER.unpack_from(record) if body else (0,)
        if kind == wire.RECORD_ZOMBIE and len(body) >= wire.ZOMBIE.size:
            return self.child(wire.ZombieWire._make(wire.ZOMBIE.unpack_from(body)))
        if kind == wire.RECORD_GONE and len(body) >= wire.GONE.size:
            gone = wire.GoneWire._make(wire.GONE.unpack_from(body))
            return Gone(Identity(gone.pid, ticks(gone.start_ns)), gone.gone_ns)
        if kind == wire.RECORD_YOUNG and len(body) >= wire.ZOMBIE.size:
            self.young.add(body)
            return None
        self.parse_errors += 1
        return None

    def child(self, raw: wire.ZombieWire) -> Child:
        """Return a zombie, with the path of its cgroup where that is known."""
        path = self._cgroups.path(raw.cgroup_id, raw.cgroup_hierarchy)
        return Child(
            identity=Identity(raw.pid, raw.start_ticks),
            parent_pid=raw.parent_pid,
            start_boot_ns=raw.start_ns,
            exit_boot_ns=raw.exit_ns or None,
            last_ran_boot_ns=None if raw.exit_ns else raw.dead_since_ns or None,
            exit_status=raw.exit_status,
            vpid=raw.vpid or None,
            pid_namespace=raw.pid_namespace or None,
            uid=raw.uid,
            comm=wire.text(raw.comm),
            exit_parent_pid=raw.exit_parent_pid or None,
            forker=forker_of(raw),
            origin=_ORIGINS.get(raw.origin),
            origin_pid=raw.origin_pid or None,
            cgroup=None if path is None else Cgroup(path, CgroupOrigin.KERNEL),
            tracer_pid=raw.tracer_pid or None,
        )
