"""One row of `tracer scan --by parent|pod` as an object of `-o json`. Pure."""

from tracer.render.document import Document, zombie_document
from tracer.render.fields import KERNEL_BYTES, seconds
from tracer.render.groups import Group

_SHARED = ("timestamp", "level", "schema_version", "k8s", "container", "systemd", "cause")
"""What the zombies of every row have in common, or its oldest zombie stands for."""


def row_document(
    group: Group, *, by: str, node_name: str, to_wall_ns: int, boot_id: str | None = None
) -> Document:
    """Return the counts of a row in `row`, and in the fields of a zombie line whose they are.

    `cause` is that of the oldest zombie; `row.causes` has the codes of all of them, the
    most frequent first.

    Args:
        group: the row.
        by: parent or pod; only a row of one parent has `parent`.
        node_name: the node the zombies are on.
        to_wall_ns: what must be added to boot times, from clock.boot_to_wall_ns().
        boot_id: of this boot of the node; without it, cause.id is None.
    """
    document = zombie_document(
        group.record, node_name=node_name, to_wall_ns=to_wall_ns, boot_id=boot_id
    )
    shared = (*_SHARED, "parent") if by == "parent" else _SHARED
    row: Document = {
        "by": by,
        "zombies": group.zombies,
        "parents": group.parents,
        "oldest_age_seconds": seconds(group.record.age_ns),
        "kernel_bytes": group.zombies * KERNEL_BYTES,
        "causes": [code.rstrip("?") for code in group.causes],
    }
    return {name: document[name] for name in shared if name in document} | {"row": row}
