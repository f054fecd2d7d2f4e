"""Failed system calls of the sources, as the kind of error that says what happens next."""

import os

from tracer.errors import TEMPORARY_ERRNOS, PermanentError, TemporaryError, TracerError


def failure(what: str, number: int) -> TracerError:
    """Return the error for a failed call.

    Args:
        what: what failed, as a clause: "the task iterator cannot be read".
        number: its errno.
    """
    text = f"{what}: {os.strerror(number)} (errno {number})"
    if number in TEMPORARY_ERRNOS:
        return TemporaryError(text)
    return PermanentError(f"{text}; restart the agent, or use another --source")
