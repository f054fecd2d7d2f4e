"""tracefs for bcc, and a thread of its own in which the rest of the process notices nothing."""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tracer.errors import PermanentError

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_MS_REC = 0x4000
_MS_SLAVE = 0x80000
_MOUNT_POINT = Path("/sys/kernel/tracing")
_ABOVE = (b"/", b"/sys")
"""Mount points above it, the outermost first."""
_PLACES = (Path("/sys/kernel/debug/tracing"), _MOUNT_POINT)
"""Where bcc looks, in the order of its Python module."""

Result = TypeVar("Result")


def mounted() -> Path | None:
    """Return where tracefs can be read, None when it cannot."""
    # access(2) asks for the real user and without capabilities, unless told otherwise.
    readable = (os.access(place / "events/sched", os.R_OK, effective_ids=True) for place in _PLACES)
    return next((place for place, can in zip(_PLACES, readable, strict=True) if can), None)


def with_tracefs(call: Callable[[Path], Result]) -> Result:
    """Run a call where tracefs is mounted, and change nothing outside of it.

    The call runs in a thread with a working directory of its own (bcc changes it), and where
    tracefs is not mounted in a mount namespace of its own with tracefs in it. The namespace
    ends with the thread; descriptors and memory are shared with the process as always.

    Args:
        call: gets the path of tracefs.

    Raises:
        PermanentError: tracefs is not mounted, and may not be.
        Exception: whatever the call raised.
    """
    outcome: list[Result] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(call(_private_tracefs()))
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="tracefs")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _private_tracefs() -> Path:
    """Detach this thread from the process's working directory, and give it a tracefs."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.unshare.argtypes = [ctypes.c_int]
    libc.mount.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p]
    _check(libc.unshare(_CLONE_FS), "detach a thread's working directory")
    place = mounted()
    if place is not None:
        return place
    _check(libc.unshare(_CLONE_NEWNS), "make a mount namespace")
    # Mounts made on the machine still arrive here, ours do not go out. Where / is no mount
    # point (chroot), /sys is one.
    slave = (libc.mount(b"none", place, None, _MS_REC | _MS_SLAVE, None) for place in _ABOVE)
    _check(0 if any(result == 0 for result in slave) else -1, "detach from its mounts")
    _check(libc.mount(b"tracefs", bytes(_MOUNT_POINT), b"tracefs", 0, None), "mount tracefs")
    place = mounted()
    if place is None:
        raise PermanentError(
            f"tracefs at {_MOUNT_POINT} has no scheduler events: the kernel lacks CONFIG_FTRACE; "
            "use the source proc"
        )
    return place


def _check(result: int, what: str) -> None:
    if result < 0:
        raise PermanentError(
            f"tracefs cannot be read, and could not {what}: {os.strerror(ctypes.get_errno())}; "
            f"mount it (mount -t tracefs tracefs {_MOUNT_POINT}) and run as root, or run with "
            "CAP_SYS_ADMIN"
        )
