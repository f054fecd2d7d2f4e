"""What the fields of one line are read from: a zombie's record or a storm, and the moment."""

from dataclasses import dataclass

from tracer.clock import rfc3339
from tracer.model import Attribution, Cause, Identity, Process, Record, Storm, Waits, Zombie
from tracer.model.event import StormContext
from tracer.render.cause_id import ExplainedCauses, cause_id_of


@dataclass(frozen=True, slots=True)
class FieldContext:
    """The facts of one line; a zombie's line has no storm, a storm's line no zombie.

    Attributes:
        node_name: the node.
        to_wall_ns: what must be added to a boot time to get Unix time.
        at_boot_ns: the moment of the event.
        parent_pid: the parent of the zombie or of the storm.
        attribution: whose they are.
        parent: the parent now; None when unknown.
        cause: the diagnosis.
        zombie: the zombie.
        age_ns: its age at that moment.
        lifetime_ns: from exit to reaping, for a reaped one.
        waits: how the parent waits.
        command_line: the parent's, when asked for.
        storm: the storm.
        parent_gone: the storm's parent has died, so it has no state any more.
        cause_id: of the parent and the cause.
        explained: an earlier line with this cause ID and confidence has evidence and advice.
    """

    node_name: str
    to_wall_ns: int
    at_boot_ns: int
    parent_pid: int
    attribution: Attribution
    parent: Process | None = None
    cause: Cause | None = None
    zombie: Zombie | None = None
    age_ns: int | None = None
    lifetime_ns: int | None = None
    waits: Waits | None = None
    command_line: str | None = None
    storm: Storm | None = None
    parent_gone: bool = False
    cause_id: str | None = None
    explained: bool = False

    def wall(self, boot_ns: int | None) -> str | None:
        """Write a boot time as RFC 3339."""
        return None if boot_ns is None else rfc3339(boot_ns + self.to_wall_ns)


def record_context(
    record: Record,
    *,
    node_name: str,
    to_wall_ns: int,
    at_boot_ns: int | None = None,
    boot_id: str | None = None,
    explained: ExplainedCauses | None = None,
) -> FieldContext:
    """Return the context of one zombie; the moment, when not given, follows from its age."""
    if at_boot_ns is None:
        died = record.zombie.child.dead_since_boot_ns
        at_boot_ns = record.age_ns + (record.zombie.first_seen_boot_ns if died is None else died)
    parent = None if record.parent is None else record.parent.identity
    cause_id = _cause_id(boot_id, parent, record.cause)
    return FieldContext(
        node_name=node_name,
        to_wall_ns=to_wall_ns,
        at_boot_ns=at_boot_ns,
        parent_pid=record.zombie.child.parent_pid,
        attribution=record.attribution,
        parent=record.parent,
        cause=record.cause,
        zombie=record.zombie,
        age_ns=record.age_ns,
        lifetime_ns=record.lifetime_ns,
        waits=record.waits,
        command_line=record.command_line,
        cause_id=cause_id,
        explained=_is_explained(cause_id, record.cause, explained),
    )


def storm_context(
    storm: StormContext,
    *,
    node_name: str,
    to_wall_ns: int,
    at_boot_ns: int,
    boot_id: str | None = None,
    explained: ExplainedCauses | None = None,
) -> FieldContext:
    """Return the context of one storm."""
    cause_id = _cause_id(boot_id, storm.storm.parent, storm.cause)
    return FieldContext(
        node_name=node_name,
        to_wall_ns=to_wall_ns,
        at_boot_ns=at_boot_ns,
        parent_pid=storm.storm.parent.pid,
        attribution=storm.attribution,
        parent=storm.parent,
        cause=storm.cause,
        storm=storm.storm,
        parent_gone=storm.parent_gone,
        cause_id=cause_id,
        explained=_is_explained(cause_id, storm.cause, explained),
    )


def sample_context(zombie: Zombie, storm: FieldContext) -> FieldContext:
    """Return the context of one sample of a storm."""
    return FieldContext(
        node_name=storm.node_name,
        to_wall_ns=storm.to_wall_ns,
        at_boot_ns=storm.at_boot_ns,
        parent_pid=zombie.child.parent_pid,
        attribution=storm.attribution,
        zombie=zombie,
        age_ns=zombie.age_ns(storm.at_boot_ns),
    )


def cgroup_path(zombie: Zombie | None, attribution: Attribution) -> str | None:
    """Return a zombie's own cgroup, else the one that it was attributed by."""
    if zombie is not None and zombie.child.cgroup is not None:
        return zombie.child.cgroup.path
    return None if attribution.cgroup is None else attribution.cgroup.path


def _cause_id(boot_id: str | None, parent: Identity | None, cause: Cause | None) -> str | None:
    if boot_id is None or parent is None or cause is None:
        return None
    return cause_id_of(boot_id, parent, cause.code)


def _is_explained(
    cause_id: str | None, cause: Cause | None, explained: ExplainedCauses | None
) -> bool:
    if explained is None or cause_id is None or cause is None:
        return False
    return (cause_id, cause.confidence.value) in explained
