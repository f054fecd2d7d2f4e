"""Zombies put together by parent, or by whose they are: the rows of `tracer scan`."""

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from tracer.model import Attribution, Confidence, Record


@dataclass(frozen=True, slots=True)
class Group:
    """Zombies that share one row.

    Attributes:
        record: the oldest of them, with its parent, owner and cause.
        zombies: their number.
        parents: the number of their parents.
        causes: codes of their causes, most frequent first, with `?` after a cause that is
            possible at most.
    """

    record: Record
    zombies: int = 1
    parents: int = 1
    causes: tuple[str, ...] = ()


def group_by_pod(groups: Iterable[Group]) -> list[Group]:
    """Group by container of a pod, by systemd unit, or by what else owns them.

    Args:
        groups: one for each parent.
    """
    return merge(groups, lambda g: owner_key(g.record.attribution), parents=True)


def merge(
    groups: Iterable[Group], key: Callable[[Group], Hashable], *, parents: bool = False
) -> list[Group]:
    """Merge groups with the same key; the largest comes first, then the oldest.

    Args:
        groups: what to merge.
        key: what is the same in a merged group.
        parents: add up the parents, as each group is of another parent.
    """
    together: dict[Hashable, list[Group]] = {}
    for group in groups:
        together.setdefault(key(group), []).append(group)
    merged = [_merged(same, add_parents=parents) for same in together.values()]
    return sorted(merged, key=lambda g: (-g.zombies, -g.record.age_ns))


def _merged(groups: Sequence[Group], *, add_parents: bool) -> Group:
    oldest = max(groups, key=lambda g: g.record.age_ns)
    counts: dict[str, int] = {}
    for group in groups:
        for code in group.causes or cause_codes(group.record):
            counts[code] = counts.get(code, 0) + group.zombies
    return replace(
        oldest,
        zombies=sum(g.zombies for g in groups),
        parents=sum(g.parents for g in groups) if add_parents else 1,
        causes=tuple(sorted(_sure(counts), key=lambda code: -counts[code])),
    )


def cause_codes(record: Record) -> tuple[str, ...]:
    """Return the cause's code, with `?` after one that is possible at most; () for none."""
    if record.cause is None:
        return ()
    doubt = "?" if record.cause.confidence is Confidence.POSSIBLE else ""
    return (f"{record.cause.code.value}{doubt}",)


def _sure(codes: Collection[str]) -> list[str]:
    """Leave out a code with `?` where the same one is there without."""
    return [code for code in codes if not code.endswith("?") or code[:-1] not in codes]


def owner_key(owner: Attribution) -> Hashable:
    """Return what zombies of one row of `--by pod` have in common."""
    if owner.workload is not None:
        return (owner.workload.namespace, owner.workload.pod, owner.workload.container)
    if owner.container is not None:
        return (owner.container.pod_uid or owner.container.config_hash, owner.container.id)
    return owner.unit
