"""The story of `tracer explain -o json`: the contract's documents and more. Pure."""

from tracer.model import Process
from tracer.render.document import Document, zombie_document
from tracer.render.explanation import Explanation, Kind
from tracer.render.fields import seconds
from tracer.render.words import state_name


def story_document(story: Explanation, *, node_name: str, to_wall_ns: int) -> Document:
    """Return the story as one object.

    `kind` is zombie, reaped, process or dead_leader; `zombies` are the documents of
    `scan -o json`: the one asked about, or those of the process asked about.
    """
    waits = story.view.waits
    return {
        "schema_version": 1,
        "kind": story.kind.value,
        "pid": story.pid,
        "source": {"name": story.source},
        "watched_seconds": seconds(story.watched_ns),
        "process": _process(story.subject) if story.kind in _LIVING else None,
        "tree": [_process(process) for process in story.ancestors],
        "zombies": [
            zombie_document(
                record, node_name=node_name, to_wall_ns=to_wall_ns, at_boot_ns=story.now_boot_ns
            )
            for record in story.records
        ],
        "zombies_of_parent": len(story.family),
        "living_children": story.living_children,
        "waits": None
        if waits is None
        else {
            "any": waits.any,
            "specific": waits.specific,
            "reaped": waits.reaped,
            "reaped_late": waits.reaped_late,
            "watched_seconds": seconds(story.now_boot_ns - waits.watched_since_boot_ns),
        },
        "steps": list(story.steps),
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
