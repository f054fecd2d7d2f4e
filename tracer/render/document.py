"""From a record or an event to the nested document of the contract."""

from collections.abc import Iterable, Mapping

from tracer.clock import rfc3339
from tracer.model import Record
from tracer.model.event import LEVELS, Event, EventName
from tracer.render.context import FieldContext, record_context, storm_context
from tracer.render.fields import FIELDS, Getter, in_pod, paths

SCHEMA_VERSION = 1
"""Of the lines; fields are added without raising it, never renamed."""

Document = dict[str, object]
_Tree = dict[str, "Getter | _Tree"]


def _tree(chosen: Iterable[str]) -> _Tree:
    """Nest the getters of these paths as the document will be."""
    root: _Tree = {}
    for path in chosen:
        *folders, leaf = path.split(".")
        node = root
        for folder in folders:
            inner = node.setdefault(folder, {})
            if not isinstance(inner, dict):
                raise TypeError(f"{path} is below a field")
            node = inner
        node[leaf] = FIELDS[path]
    return root


_ZOMBIE = _tree(
    paths("process", "zombie", "parent", "forker", "k8s", "container", "systemd", "cause")
)
_STORM = _tree(paths("storm", "parent", "k8s", "container", "systemd", "cause"))
_SAMPLE = _tree(paths("process", "zombie"))


def _build(tree: _Tree, context: FieldContext) -> Document:
    return {
        name: _build(inner, context) if isinstance(inner, dict) else inner(context)
        for name, inner in tree.items()
    }


def _facts(tree: _Tree, context: FieldContext) -> Document:
    """Build, and let the whole pod be null outside pods."""
    document = _build(tree, context)
    k8s = document["k8s"]
    if isinstance(k8s, dict) and not in_pod(context.attribution):
        k8s["pod"] = None
    return document


def _head(wall_ns: int, level: str, event: EventName | None) -> Document:
    head: Document = {"timestamp": rfc3339(wall_ns), "level": level}
    if event is not None:
        head["event"] = event.value
    head["schema_version"] = SCHEMA_VERSION
    return head


def zombie_document(
    record: Record,
    *,
    node_name: str,
    to_wall_ns: int,
    at_boot_ns: int | None = None,
    event: EventName | None = None,
) -> Document:
    """Return the document of one zombie; without `event`, as `scan -o json` prints it.

    Args:
        record: the zombie.
        node_name: the node it is on.
        to_wall_ns: what must be added to a boot time to get Unix time.
        at_boot_ns: the moment of the event; when None it follows from the record's age.
        event: which event.
    """
    context = record_context(
        record, node_name=node_name, to_wall_ns=to_wall_ns, at_boot_ns=at_boot_ns
    )
    level = LEVELS[EventName.ZOMBIE_DETECTED if event is None else event]
    return _head(context.at_boot_ns + to_wall_ns, level, event) | _facts(_ZOMBIE, context)


def event_document(event: Event, *, node_name: str, to_wall_ns: int, version: str) -> Document:
    """Return the document of any event.

    Args:
        event: what happened.
        node_name: the node it happened on.
        to_wall_ns: what must be added to a boot time to get Unix time.
        version: of the agent; part of the lines about its start and stop.
    """
    if event.record is not None:
        return zombie_document(
            event.record,
            node_name=node_name,
            to_wall_ns=to_wall_ns,
            at_boot_ns=event.at_boot_ns,
            event=event.name,
        )
    head = _head(event.at_boot_ns + to_wall_ns, event.severity, event.name)
    if event.storm is not None:
        return head | _storm_facts(event, node_name=node_name, to_wall_ns=to_wall_ns)
    if event.name in {EventName.AGENT_STARTED, EventName.AGENT_STOPPED}:
        head["service"] = {"name": "zombie-tracer", "version": version}
    document = _merged(head, event.fields)
    return _merged(document, {"k8s": {"node": {"name": node_name}}})


def _storm_facts(event: Event, *, node_name: str, to_wall_ns: int) -> Document:
    storm = event.storm
    if storm is None:
        raise ValueError("no storm in this event")
    at = event.at_boot_ns
    context = storm_context(storm, node_name=node_name, to_wall_ns=to_wall_ns, at_boot_ns=at)
    samples = [
        _build(
            _SAMPLE,
            FieldContext(
                node_name=node_name,
                to_wall_ns=to_wall_ns,
                at_boot_ns=at,
                parent_pid=zombie.child.parent_pid,
                attribution=storm.attribution,
                zombie=zombie,
                age_ns=zombie.age_ns(at),
            ),
        )
        for zombie in storm.storm.samples
    ]
    return _merged(_facts(_STORM, context), {"storm": {"samples": samples}})


def _merged(base: Mapping[str, object], more: Mapping[str, object]) -> Document:
    """Merge nested mappings; what is in `base` stays, unless both are mappings."""
    merged: Document = dict(base)
    for name, value in more.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(old, value)
        elif name not in merged:
            merged[name] = dict(value) if isinstance(value, Mapping) else value
    return merged
