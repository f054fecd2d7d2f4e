"""The two kinds of error: the type says what happens next."""

import errno
import os
import traceback
from pathlib import Path

USAGE_STATUS = 2
CANNOT_RUN_STATUS = 3

TEMPORARY_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)
"""What is exhausted or busy now may be free later; the same call is worth another try."""

_REMEDIES = {
    errno.EMFILE: "raise the agent's limit of open files (ulimit -n, LimitNOFILE=)",
    errno.ENFILE: "raise fs.file-max, or find what holds so many files open",
    errno.ENOMEM: "free memory, or raise the container's memory limit",
}


class TracerError(Exception):
    """An error with one line for the user; never shown as a traceback."""


class PermanentError(TracerError):
    """Trying again cannot help. The text ends with the remedy; exit status 3."""


class UsageError(TracerError):
    """The command line, or an environment variable standing for it, is wrong; exit status 2."""


class TemporaryError(TracerError):
    """Trying again later may help: back off and go on. It never ends the agent."""


def error_of(number: int, message: str) -> PermanentError | TemporaryError:
    """Return the error of the kind that an errno value belongs to.

    Args:
        number: positive, as in errno(3).
        message: what failed. The kernel's reason, and a remedy if there is one, are appended.
    """
    text = f"{message}: {os.strerror(number)}"
    remedy = _REMEDIES.get(number)
    if remedy is not None:
        text += f"; {remedy}"
    return TemporaryError(text) if number in TEMPORARY_ERRNOS else PermanentError(text)


def classified(error: Exception) -> PermanentError | TemporaryError | None:
    """Return an exception from the edge (a source, /proc) as one of the two kinds.

    None when it is neither an error of ours nor the operating system's: then it is a bug.
    """
    if isinstance(error, (PermanentError, TemporaryError)):
        return error
    if isinstance(error, TracerError):
        return PermanentError(str(error))
    if isinstance(error, MemoryError):
        return error_of(errno.ENOMEM, "the agent ran out of memory")
    if isinstance(error, OSError) and error.errno is not None:
        what = "" if error.filename is None else f" {os.fsdecode(error.filename)}"
        return error_of(error.errno, f"cannot read{what}" if what else "a system call failed")
    return None


def is_temporary(error: Exception) -> bool:
    """Return whether the same action may succeed later."""
    return isinstance(classified(error), TemporaryError)


def internal_error(error: Exception) -> PermanentError:
    """Return what to say about an exception that no part of the program expects."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    detail = f": {error}" if str(error) else ""
    return PermanentError(
        f"internal error ({type(error).__name__}{place}{detail});"
        " please file a bug with this line and the command you ran"
    )
