"""What a client asks for, as its first line says (tracer/protocol.py)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tracer import protocol
from tracer.errors import TracerError

_LONGEST_OFFSET_SECONDS = 24 * 3600


class BadRequestError(TracerError):
    """The line is none of this protocol."""


class OtherVersionError(TracerError):
    """The client speaks another version of the protocol."""


@dataclass(frozen=True, slots=True)
class Request:
    """A command to run for a client.

    Attributes:
        command: one of protocol.COMMANDS, or protocol.FOLLOW.
        arguments: the command line, as the user wrote it.
        columns: the width of the client's terminal; None when it has none.
        terminal: whether the client's stdout is a terminal.
        environment: the client's, as far as it matters.
        utc_offset_seconds: of the client's local time; None for the agent's own.
    """

    command: str
    arguments: tuple[str, ...]
    columns: int | None = None
    terminal: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    utc_offset_seconds: int | None = None


def parse_request(line: bytes) -> Request:
    """Read a client's first line.

    Raises:
        BadRequestError: it is not a request.
        OtherVersionError: it is one of another version.
    """
    sent = _object(line)
    version = sent.get("tracer")
    if version != protocol.VERSION:
        raise OtherVersionError(
            f"the running agent speaks version {protocol.VERSION} of the protocol, not"
            f" {version!r}; use the `tracer` of the agent's image or package"
        )
    command, environment = sent.get("command"), sent.get("environment", {})
    if command not in (*protocol.COMMANDS, protocol.FOLLOW):
        raise BadRequestError("the request names no command that the agent runs")
    if not isinstance(environment, dict):
        raise BadRequestError("the request's environment is not an object")
    _texts(list(environment.values()))
    return Request(
        command=str(command),
        arguments=_texts(sent.get("arguments")),
        columns=_columns(sent),
        terminal=sent.get("terminal") is True,
        environment=environment,
        utc_offset_seconds=_number(sent.get("utc_offset_seconds"), _LONGEST_OFFSET_SECONDS),
    )


def parse_columns(line: bytes) -> int | None:
    """Read a client's later line; None when it does not give a width.

    Raises:
        BadRequestError: it is not an object.
    """
    return _columns(_object(line))


def _object(line: bytes) -> dict[str, object]:
    try:
        sent = json.loads(line)
    # RecursionError: thousands of brackets.
    except (ValueError, RecursionError):
        raise BadRequestError("the request is not a line of JSON") from None
    if not isinstance(sent, dict):
        raise BadRequestError("the request is not a JSON object")
    return sent


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadRequestError("the request's arguments and environment are not texts")
    return tuple(values)


def _columns(sent: Mapping[str, object]) -> int | None:
    columns = _number(sent.get("columns"), 10_000)
    return columns if columns is None or columns > 0 else None


def _number(value: object, limit: int) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if isinstance(value, int) and whole and -limit < value < limit else None
