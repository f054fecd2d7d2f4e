"""From a record or an event to the nested document of the contract."""

from collections.abc import Iterable, Mapping

from tracer.clock import rfc3339
from tracer.model import Record
from tracer.model.event import LEVELS, Event, EventName, StormContext
from tracer.render.cause_id import ExplainedCauses, Explanation
from tracer.render.context import FieldContext, record_context, sample_context, storm_context
from tracer.render.event_id import event_id
from tracer.render.fields import FIELDS, Getter, in_pod, paths
from tracer.render.message import event_message, zombie_message

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


def _head(wall_ns: int, level: str, event: EventName | None, message: str) -> Document:
    head: Document = {"timestamp": rfc3339(wall_ns), "level": level}
    if event is not None:
        head["event"] = event.value
    return head | {"schema_version": SCHEMA_VERSION, "message": message}


def zombie_document(
    record: Record,
    *,
    node_name: str,
    to_wall_ns: int,
    at_boot_ns: int | None = None,
    event: EventName | None = None,
    boot_id: str | None = None,
    explained: ExplainedCauses | None = None,
) -> Document:
    """Return the document of one zombie; without `event`, as `scan -o json` prints it.

    Args:
        record: the zombie.
        node_name: the node it is on.
        to_wall_ns: what must be added to a boot time to get Unix time.
        at_boot_ns: the moment of the event; when None it follows from the record's age.
        event: which event.
        boot_id: of this boot of the node; without it, cause.id is None.
        explained: causes of which evidence and advice are left out, because the reader has
            them; not changed here.
    """
    context = record_context(
        record,
        node_name=node_name,
        to_wall_ns=to_wall_ns,
        at_boot_ns=at_boot_ns,
        boot_id=boot_id,
        explained=explained,
    )
    level = LEVELS[EventName.ZOMBIE_DETECTED if event is None else event]
    message = zombie_message(record, event)
    head = _head(context.at_boot_ns + to_wall_ns, level, event, message)
    return head | _facts(_ZOMBIE, context)


def event_document(
    event: Event,
    *,
    node_name: str,
    to_wall_ns: int,
    version: str,
    boot_id: str | None = None,
    explained: ExplainedCauses | None = None,
) -> Document:
    """Return the document of any event.

    Args:
        event: what happened.
        node_name: the node it happened on.
        to_wall_ns: what must be added to a boot time to get Unix time.
        version: of the agent; part of the lines about its start and stop.
        boot_id: as for zombie_document().
        explained: as for zombie_document().
    """
    document = _event_facts(
        event,
        node_name=node_name,
        to_wall_ns=to_wall_ns,
        version=version,
        boot_id=boot_id,
        explained=explained,
    )
    document["event.id"] = event_id(event, boot_id=boot_id, node_name=node_name)
    if event.repeated:
        document["repeated"] = True
    return document


def _event_facts(
    event: Event,
    *,
    node_name: str,
    to_wall_ns: int,
    version: str,
    boot_id: str | None,
    explained: ExplainedCauses | None,
) -> Document:
    if event.record is not None:
        return zombie_document(
            event.record,
            node_name=node_name,
            to_wall_ns=to_wall_ns,
            at_boot_ns=event.at_boot_ns,
            event=event.name,
            boot_id=boot_id,
            explained=explained,
        )
    head = _head(event.at_boot_ns + to_wall_ns, event.severity, event.name, event_message(event))
    if event.storm is not None:
        context = storm_context(
            event.storm,
            node_name=node_name,
            to_wall_ns=to_wall_ns,
            at_boot_ns=event.at_boot_ns,
            boot_id=boot_id,
            explained=explained,
        )
        return head | _storm_facts(event.storm, context)
    if event.name in {EventName.AGENT_STARTED, EventName.AGENT_STOPPED}:
        head["service"] = {"name": "zombie-tracer", "version": version}
    document = merged(head, event.fields)
    return merged(document, {"k8s": {"node": {"name": node_name}}})


def _storm_facts(storm: StormContext, context: FieldContext) -> Document:
    samples = [_build(_SAMPLE, sample_context(zombie, context)) for zombie in storm.storm.samples]
    return merged(_facts(_STORM, context), {"storm": {"samples": samples}})


def explained_by(document: Document) -> Explanation | None:
    """Return which cause the reader of a line knows then, and need not get again."""
    match document:
        case {"cause": {"id": str(cause_id), "confidence": str(confidence), "evidence": list()}}:
            return cause_id, confidence
    return None


def merged(base: Mapping[str, object], more: Mapping[str, object]) -> Document:
    """Merge nested mappings; what is in `base` stays, unless both are mappings."""
    whole: Document = dict(base)
    for name, value in more.items():
        old = whole.get(name)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            whole[name] = merged(old, value)
        elif name not in whole:
            whole[name] = dict(value) if isinstance(value, Mapping) else value
    return whole
