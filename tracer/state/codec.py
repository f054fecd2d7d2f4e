"""Records as JSON values and back, driven by their type hints. Pure.

A dataclass becomes an object without its None fields, a NamedTuple an array, bytes are
compressed and become base64. Fields that the reading agent does not know are ignored,
so an upgrade keeps the state. Numbers are checked against the unit in their name.
"""

import base64
import functools
import json
import zlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from tracer.clock import TICK_NS

PID_LIMIT = 1 << 22
"""PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h): every pid is below it."""

_BYTES_LIMIT = 1 << 16

_Read = Callable[[Any, int], Any]


class BadStateError(ValueError):
    """This is not a state; the text quotes what is wrong."""


def encode(value: object) -> bytes:
    """Return a record, or a list with records in it, as JSON."""
    return _ENCODER.encode(value).encode()


def _plain(value: Any) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(zlib.compress(value, 1)).decode()
    kind: Any = type(value)
    return {name: at for name in _hints(kind) if (at := getattr(value, name)) is not None}


_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"))


def decode(kind: Any, value: Any, now_boot_ns: int) -> Any:
    """Return the record of that type that encode() made this JSON value from.

    Raises:
        BadStateError: something in it is missing, of another type or out of bounds.
    """
    try:
        return _reader(kind, "")(value, now_boot_ns)
    except (TypeError, ValueError, zlib.error) as error:
        raise BadStateError(f"{value!r:.60}: {error}") from error


@functools.cache
def _reader(hint: Any, name: str) -> _Read:
    """Return what reads a value of that type, from a field of that name."""
    if inner := _optional(hint):
        some = _reader(inner, name)
        return lambda value, now: None if value is None else some(value, now)
    if get_origin(hint) is tuple:
        each_of = _reader(get_args(hint)[0], name)
        return lambda value, now: tuple(each_of(each, now) for each in _checked(value, list))
    if hint is int:
        return _number_reader(name)
    if hint is bytes:
        return lambda value, _: zlib.decompressobj().decompress(
            base64.b64decode(_checked(value, str), validate=True), _BYTES_LIMIT
        )
    if is_dataclass(hint) or issubclass(hint, tuple):
        return _record_reader(hint)
    return lambda value, _: hint(_checked(value, str))


def _record_reader(kind: Any) -> _Read:
    hints = _hints(kind)
    if issubclass(kind, tuple):
        in_order = [_reader(hint, name) for name, hint in hints.items()]
        return lambda value, now: kind(
            *[read(each, now) for read, each in zip(in_order, _checked(value, list), strict=True)]
        )
    optional = {name: _optional(hint) for name, hint in hints.items()}
    readers = [(name, _reader(optional[name] or hint, name)) for name, hint in hints.items()]
    unknown = {name: None for name, inner in optional.items() if inner is not None}

    def read_row(value: Any, now: int) -> Any:
        row = _checked(value, dict)
        found = {name: read(row[name], now) for name, read in readers if name in row}
        return kind(**unknown | found)

    return read_row


def _optional(hint: Any) -> Any:
    """Return the type besides None in a hint like `int | None`; None for another hint."""
    kinds = get_args(hint)
    if type(None) not in kinds:
        return None
    [kind] = [kind for kind in kinds if kind is not type(None)]
    return kind


def _number_reader(name: str) -> _Read:
    in_time, in_ticks = name.endswith("_boot_ns"), name.endswith("_ticks")
    fixed = PID_LIMIT - 1 if name.endswith("pid") else (1 << 63) - 1

    def read(value: Any, now_boot_ns: int) -> int:
        largest = now_boot_ns if in_time else now_boot_ns // TICK_NS if in_ticks else fixed
        if type(value) is not int or not 0 <= value <= largest:
            raise BadStateError(f"{name} out of bounds")
        return value

    return read


def _checked(value: Any, kind: Any) -> Any:
    if type(value) is not kind:
        raise BadStateError(f"not of type {kind.__name__}")
    return value


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else kind._fields
    return {name: hints[name] for name in names}
