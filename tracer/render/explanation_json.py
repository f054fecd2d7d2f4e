"""`tracer explain -o json`: the contract's documents of the zombies, and what is around them."""

from tracer.model import Process
from tracer.render.document import Document, zombie_document
from tracer.render.explanation import Explanation, Kind
from tracer.render.fields import seconds
from tracer.render.words import state_name


def explanation_document(
    explanation: Explanation, *, node_name: str, to_wall_ns: int, boot_id: str | None = None
) -> Document:
    """Return the explanation as one object.

    `kind` is zombie, reaped, process or dead_leader; `zombies` are the documents of
    `scan -o json`: the one asked about, or those of the process asked about.
    """
    waits = explanation.view.waits
    return {
        "schema_version": 1,
        "kind": explanation.kind.value,
        "pid": explanation.pid,
        "source": {"name": explanation.source},
        "watched_seconds": seconds(explanation.watched_ns),
        "process": _process(explanation.subject) if explanation.kind in _LIVING else None,
        "tree": [_process(process) for process in explanation.ancestors],
        "zombies": [
            zombie_document(
                record,
                node_name=node_name,
                to_wall_ns=to_wall_ns,
                at_boot_ns=explanation.now_boot_ns,
                boot_id=boot_id,
            )
            for record in explanation.records
        ],
        "zombies_of_parent": len(explanation.family),
        "living_children": explanation.living_children,
        "waits": None
        if waits is None
        else {
            "any": waits.any,
            "specific": waits.specific,
            "reaped": waits.reaped,
            "reaped_late": waits.reaped_late,
            "watched_seconds": seconds(explanation.now_boot_ns - waits.watched_since_boot_ns),
        },
        "steps": list(explanation.steps),
    }


_LIVING = (Kind.PARENT, Kind.DEAD_LEADER)


def _process(process: Process | None) -> Document | None:
    if process is None:
        return None
    return {
        "pid": process.identity.pid,
        "vpid": process.vpid,
        "parent_pid": process.parent_pid,
        "executable": {"name": process.comm, "path": process.path},
        "state": state_name(process.state),
        "is_init": process.is_init,
        "threads": process.threads,
    }
