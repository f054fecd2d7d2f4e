"""`tracer scan -o table|wide`: zombies by parent, by pod or one by one, in aligned columns.

The cells are read from the same table of fields as the JSON (render/fields.py).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tracer.clock import NS
from tracer.durations import short_duration
from tracer.model import Record
from tracer.render.context import FieldContext, record_context
from tracer.render.fields import FIELDS, KERNEL_BYTES
from tracer.render.groups import Group, cause_codes
from tracer.render.text import cut_middle, escape_untrusted, pad, width
from tracer.render.words import exit_text, owner_text

_GAP = 2
_MIN_COLUMN = 12
"""Columns are not squeezed below this: a name cut shorter is no longer recognised."""


Cell = Callable[[Group, FieldContext], str]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        title: its heading.
        cell: returns the text of a row, names escaped.
        wide: only in `-o wide`.
        right: numbers are aligned to the right.
        squeeze: may be cut in the middle when the terminal is narrow.
    """

    title: str
    cell: Cell
    wide: bool = False
    right: bool = False
    squeeze: bool = False


def _field(path: str) -> Cell:
    get = FIELDS[path]
    return lambda _, context: value_text(get(context))


def value_text(value: object) -> str:
    """Write a field's value in a cell; unknown is `-`."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "; ".join(map(value_text, value))
    return escape_untrusted(str(value))


def age_text(record: Record) -> str:
    """Write an age; `>` marks a lower bound, `-` an unknown age."""
    if record.zombie.child.exit_boot_ns is not None:
        return short_duration(record.age_ns)
    unknown = record.zombie.child.dead_since_boot_ns is None and record.age_ns < NS
    return "-" if unknown else f">{short_duration(record.age_ns)}"


def bytes_text(size: int) -> str:
    """Write a size as `du -h` does, with the binary unit named."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f}{unit}" if amount >= 10 or unit == "B" else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.1f}GiB"


def _pod_or_unit(group: Group, _: FieldContext) -> str:
    owner = group.record.attribution
    return escape_untrusted(owner_text(owner) if owner.workload is None else owner.workload.pod)


_ZOMBIES = Column("ZOMBIES", lambda g, _: str(g.zombies), right=True)
_OLDEST = Column("OLDEST", lambda g, _: age_text(g.record), right=True)
_OWNER = Column(
    "POD OR UNIT", lambda g, _: escape_untrusted(owner_text(g.record.attribution)), squeeze=True
)
_CAUSE = Column("CAUSE", lambda g, _: ",".join(g.causes or cause_codes(g.record)) or "-")
_MEMORY = Column("MEMORY", lambda g, _: bytes_text(g.zombies * KERNEL_BYTES), wide=True, right=True)
_DETAILS = (
    Column("CONFIDENCE", _field("cause.confidence"), wide=True),
    Column("IMAGE", _field("container.image.name"), wide=True),
    Column("CGROUP", _field("process.linux.cgroup"), wide=True),
)

BY_PARENT = (
    Column("PARENT", _field("parent.pid"), right=True),
    Column("NAME", _field("parent.executable.name"), squeeze=True),
    _ZOMBIES,
    _OLDEST,
    _OWNER,
    _CAUSE,
    Column("STATE", _field("parent.state"), wide=True),
    Column("INIT", _field("parent.is_init"), wide=True),
    _MEMORY,
    Column("PATH", _field("parent.executable.path"), wide=True),
    *_DETAILS,
    Column("ADVICE", _field("cause.advice"), wide=True),
)
BY_ZOMBIE = (
    Column("PID", _field("process.pid"), right=True),
    Column("NAME", _field("process.executable.name"), squeeze=True),
    Column("AGE", lambda g, _: age_text(g.record), right=True),
    Column("EXIT", lambda g, _: exit_text(g.record.zombie.child.exit_status)),
    Column("PARENT", _field("parent.pid"), right=True),
    Column("PARENT NAME", _field("parent.executable.name"), squeeze=True),
    _OWNER,
    _CAUSE,
    Column("VPID", _field("process.vpid"), wide=True, right=True),
    Column("UID", _field("process.user.id"), wide=True, right=True),
    Column("FORKED BY", _field("forker.pid"), wide=True, right=True),
    Column("CREATED", _field("process.creation.time"), wide=True),
    Column("EXITED", _field("process.exit.time"), wide=True),
    *_DETAILS,
)
BY_POD = (
    Column("NAMESPACE", _field("k8s.namespace.name"), squeeze=True),
    Column("POD OR UNIT", _pod_or_unit, squeeze=True),
    Column("CONTAINER", _field("k8s.container.name"), squeeze=True),
    _ZOMBIES,
    Column("PARENTS", lambda g, _: str(g.parents), right=True),
    _OLDEST,
    _CAUSE,
    _MEMORY,
    Column("POD UID", _field("k8s.pod.uid"), wide=True),
    *_DETAILS,
)


def render_table(
    groups: Sequence[Group],
    layout: Sequence[Column],
    *,
    to_wall_ns: int,
    wide: bool = False,
    columns: int | None = None,
) -> str:
    """Return the table as lines, its heading first; only the heading when there are no rows.

    Args:
        groups: the rows, in their order; for BY_ZOMBIE one for each record.
        layout: BY_PARENT, BY_ZOMBIE or BY_POD.
        to_wall_ns: what must be added to a boot time to get Unix time.
        wide: show all columns, uncut.
        columns: width of the terminal; None (a pipe) cuts nothing.
    """
    return "".join(table_lines(groups, layout, to_wall_ns=to_wall_ns, wide=wide, columns=columns))


def table_lines(
    groups: Iterable[Group],
    layout: Sequence[Column],
    *,
    to_wall_ns: int,
    wide: bool = False,
    columns: int | None = None,
) -> Iterator[str]:
    """Yield the lines of render_table(); of each group only its cells are kept."""
    chosen = [column for column in layout if wide or not column.wide]
    table = [tuple(column.title for column in chosen)]
    same: dict[str, str] = {}
    for group in groups:
        context = record_context(group.record, node_name="", to_wall_ns=to_wall_ns)
        cells = (column.cell(group, context) for column in chosen)
        table.append(tuple(same.setdefault(text, text) for text in cells))
    widths = [max(width(row[i]) for row in table) for i in range(len(chosen))]
    if columns is not None and not wide:
        squeeze(widths, [c.squeeze for c in chosen], columns - _GAP * (len(chosen) - 1))
    yield from (_line(row, chosen, widths) for row in table)


def _line(row: Sequence[str], layout: Sequence[Column], widths: Sequence[int]) -> str:
    cells = (
        pad(cut_middle(text, columns), columns, right=column.right)
        for text, column, columns in zip(row, layout, widths, strict=True)
    )
    return (" " * _GAP).join(cells).rstrip() + "\n"


def squeeze(widths: list[int], allowed: Sequence[bool], room: int) -> None:
    """Narrow the widest of the allowed columns until all fit or none can be narrowed further."""
    while sum(widths) > room:
        able = [i for i, ok in enumerate(allowed) if ok and widths[i] > _MIN_COLUMN]
        if not able:
            return
        widths[max(able, key=lambda i: widths[i])] -= 1
