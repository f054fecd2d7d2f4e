"""What went wrong between the agent and the API server, in one line with its remedy. Pure."""

import json
from typing import NamedTuple


class ApiError(NamedTuple):
    """One failure.

    Attributes:
        message: one line, for the log.
        relist: what was read so far is out of date, everything must be listed anew (410).
        reload: the credentials must be read anew (401).
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
            "they are read again from disk before each try",
            reload=True,
        )
    if status == 403:
        return ApiError(
            f"the API server forbids to {verb} pods with the credentials from {origin} (403): "
            f"{said}; grant the verbs get, list and watch on the resource pods "
            "(a ClusterRole bound to the agent's service account)"
        )
    if status in (410, 504) and ("resource version" in said.lower() or status == 410):
        return ApiError(f"the watch is too old for the API server ({status}): {said}", relist=True)
    return ApiError(f"the API server answered {status} when asked to {verb} pods: {said}")


def from_error(error: BaseException, verb: str, origin: str) -> ApiError:
    """Explain an exception from the client, the network or the JSON reader."""
    # The client's own error handling fails on an error without a body (a TLS failure:
    # api_client.py decodes None), and hides what happened behind it.
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
        status = json.loads(text)
    except ValueError:
        status = None
    if isinstance(status, dict) and isinstance(status.get("message"), str):
        text = status["message"]
    return " ".join(text.split())[:300] or "no explanation"
