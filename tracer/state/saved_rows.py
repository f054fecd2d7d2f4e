"""Zombies and storms of a saved state as JSON values, and back. Pure.

Every number and text that comes back is checked: the files lie on a node, where
anything may have happened to them.
"""

import base64
import binascii

from tracer.model import Cgroup, CgroupOrigin, Child, Forker, Identity, OriginKind
from tracer.state.saved import MEMBER_BYTES, SavedStorm, SavedZombie

_MAX = 2**63 - 1
_MAX_PID = 2**32 - 1


class BadStateError(ValueError):
    """These bytes are no state; the text says why and quotes what is wrong."""


def bad(value: object) -> str:
    """Say what was found, in one short line."""
    shown = repr(value)
    return f"it holds {shown[:80]}{'…' if len(shown) > 80 else ''}"


def number(value: object, largest: int = _MAX) -> int:
    """Return a whole number from 0 to the largest that makes sense."""
    if type(value) is not int or not 0 <= value <= largest:
        raise BadStateError(bad(value))
    return value


def optional(row: dict[str, object], key: str) -> int | None:
    """Return the number of a key; None where there is none."""
    value = row.get(key)
    return None if value is None else number(value)


def text(value: object) -> str | None:
    """Return a text or None."""
    if value is not None and not isinstance(value, str):
        raise BadStateError(bad(value))
    return value


def identity(value: object) -> Identity:
    """Return an identity from its [pid, start_ticks]."""
    if not isinstance(value, list) or len(value) != 2:
        raise BadStateError(bad(value))
    return Identity(number(value[0], _MAX_PID), number(value[1]))


_PLAIN = (
    "exit_boot_ns",
    "last_ran_boot_ns",
    "exit_status",
    "vpid",
    "pid_namespace",
    "uid",
    "exit_parent_pid",
    "origin_pid",
    "tracer_pid",
)
"""Fields of Child that are a number or None."""


def zombie_out(zombie: SavedZombie) -> dict[str, object]:
    """Return a zombie as a JSON object; what is unknown is left out."""
    child = zombie.child
    row: dict[str, object] = {name: getattr(child, name) for name in _PLAIN}
    row |= {
        "id": child.identity,
        "parent_pid": child.parent_pid,
        "start_boot_ns": child.start_boot_ns,
        "comm": child.comm,
        "origin": child.origin,
        "forker": child.forker and [list(child.forker.identity), child.forker.comm],
        "cgroup": child.cgroup,
        "first_seen_boot_ns": zombie.first_seen_boot_ns,
        "detected_boot_ns": zombie.detected_boot_ns,
        "step_ns": zombie.step_ns,
    }
    return {key: value for key, value in row.items() if value is not None}


def zombie_in(row: dict[str, object]) -> SavedZombie:
    """Return the zombie of zombie_out().

    Raises:
        BadStateError: something in it is of the wrong kind.
    """
    child = Child(
        identity=identity(row.get("id")),
        parent_pid=number(row.get("parent_pid")),
        start_boot_ns=number(row.get("start_boot_ns")),
        comm=text(row.get("comm")),
        forker=_forker(row.get("forker")),
        origin=_origin(row.get("origin")),
        cgroup=_cgroup(row.get("cgroup")),
        **{name: optional(row, name) for name in _PLAIN},
    )
    return SavedZombie(
        child=child,
        first_seen_boot_ns=number(row.get("first_seen_boot_ns")),
        detected_boot_ns=optional(row, "detected_boot_ns"),
        step_ns=optional(row, "step_ns"),
    )


def _forker(value: object) -> Forker | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise BadStateError(bad(value))
    return Forker(identity(value[0]), text(value[1]))


def _origin(value: object) -> OriginKind | None:
    try:
        return None if value is None else OriginKind(str(value))
    except ValueError as error:
        raise BadStateError(bad(value)) from error


def _cgroup(value: object) -> Cgroup | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        raise BadStateError(bad(value))
    try:
        return Cgroup(value[0], CgroupOrigin(str(value[1])))
    except ValueError as error:
        raise BadStateError(bad(value)) from error


def storm_out(storm: SavedStorm) -> dict[str, object]:
    """Return a storm as a JSON object."""
    return {
        "parent": storm.parent,
        "began_boot_ns": storm.began_boot_ns,
        "detected": storm.detected,
        "reaped": storm.reaped,
        "oldest_exit_boot_ns": storm.oldest_exit_boot_ns,
        "members": base64.b64encode(storm.members).decode(),
    }


def storm_in(row: dict[str, object]) -> SavedStorm:
    """Return the storm of storm_out().

    Raises:
        BadStateError: something in it is of the wrong kind.
    """
    try:
        members = base64.b64decode(str(row.get("members")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadStateError(bad(row.get("members"))) from error
    if len(members) % MEMBER_BYTES:
        raise BadStateError(f"it holds {len(members)} bytes of members, no multiple of 12")
    return SavedStorm(
        parent=identity(row.get("parent")),
        began_boot_ns=number(row.get("began_boot_ns")),
        detected=number(row.get("detected")),
        reaped=number(row.get("reaped")),
        oldest_exit_boot_ns=optional(row, "oldest_exit_boot_ns"),
        members=members,
    )
