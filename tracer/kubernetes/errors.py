"""Failures of requests to the API server, each explained in one line with its remedy. Pure."""

import json
from typing import NamedTuple

from tracer.numbers import json_int


class ApiError(NamedTuple):
    """One failure.

    Attributes:
        message: one line, for the log.
        relist: the version to watch from is gone: list all pods again (410).
        reload: read the credentials from disk again (401).
    """

    message: str
    relist: bool = False
    reload: bool = False


def from_status(status: int, body: str | bytes | None, verb: str, origin: str) -> ApiError:
    """Explain an HTTP status, or the code of a Status object in a watch.

    Args:
        status: 401, 403, 410, ….
        body: a Status object as JSON, or whatever was sent instead.
        verb: list or watch.
        origin: of the credentials.
    """
    said = _message(body)
    if status == 401:
        return ApiError(
            f"the API server does not accept the credentials from {origin} (401): {said}; "
            "they are read from disk again before each attempt",
            reload=True,
        )
    if status == 403:
        return ApiError(
            f"the credentials from {origin} may not {verb} pods (403): {said}; grant the verbs "
            "get, list and watch on the resource pods (deploy/base/rbac.yaml has the ClusterRole)"
        )
    if status in (410, 504) and ("resource version" in said.lower() or status == 410):
        return ApiError(
            f"the API server no longer has the version to watch from ({status}): {said}; "
            "all pods are listed again",
            relist=True,
        )
    return ApiError(f"cannot {verb} pods: the API server answered {status}: {said}")


def from_error(error: BaseException, verb: str, origin: str) -> ApiError:
    """Explain an exception from the client, the network or the JSON reader."""
    # The client fails while it handles an error without a body (api_client.py decodes
    # None after a TLS failure): the real error is the context of that one.
    hidden = error.__context__
    if isinstance(error, AttributeError) and hidden is not None and hasattr(hidden, "status"):
        error = hidden
    status = getattr(error, "status", None)
    if isinstance(status, int) and status:
        return from_status(status, getattr(error, "body", None), verb, origin)
    said = getattr(error, "reason", None) or (error.args[0] if error.args else error)
    text = " ".join(str(said).split())
    return ApiError(f"cannot {verb} pods through {origin}: {type(error).__name__}: {text[:300]}")


def _message(body: str | bytes | None) -> str:
    text = body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body or ""
    try:
        status = json.loads(text, parse_int=json_int)
    except ValueError:
        status = None
    if isinstance(status, dict) and isinstance(status.get("message"), str):
        text = status["message"]
    return " ".join(text.split())[:300] or "no explanation"
