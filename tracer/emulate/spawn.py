"""What needs the C library: children that exit at once, namespaces, tracing, dead leaders."""

import ctypes
import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

_CLONE_VM = 0x100
_CLONE_VFORK = 0x4000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_PTRACER = 0x59616D61
_PTRACE_SEIZE = 0x4206
_STACK_BYTES = 65_536
_SYS_EXIT = {"x86_64": 60, "aarch64": 93, "riscv64": 93, "ppc64le": 1, "s390x": 1, "armv7l": 1}
"""exit(2), not exit_group(2): it ends one thread. The C library has no name for it."""


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    libc.clone.restype = ctypes.c_int
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    libc.prctl.restype = ctypes.c_int
    libc.unshare.argtypes = [ctypes.c_int]
    libc.unshare.restype = ctypes.c_int
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    libc.syscall.argtypes = [ctypes.c_long, ctypes.c_long]
    libc.syscall.restype = ctypes.c_long
    return libc


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def dead_child_maker(exit_code: int = 0) -> Callable[[], int]:
    """Return a function that makes a child that exits at once, and returns its pid unreaped.

    The child is a clone(2) that shares our memory, as with vfork(2), and only calls `_exit`:
    no page table is copied, so 300,000 children take seconds and not minutes. The function
    raises OSError (EAGAIN at a limit, ENOMEM).
    """
    libc = _libc()
    stack = ctypes.create_string_buffer(_STACK_BYTES)
    top = (ctypes.addressof(stack) + _STACK_BYTES) & ~0xF
    leave = ctypes.cast(libc["_exit"], ctypes.c_void_p)
    flags = _CLONE_VM | _CLONE_VFORK | signal.SIGCHLD

    def make() -> int:
        # Naming `stack` here keeps it alive as long as this function.
        return _checked(libc.clone(leave, top if stack else None, flags, exit_code))

    return make


def set_name(name: str) -> None:
    """Name this process; children made by clone inherit it. At most 15 bytes are kept."""
    text = ctypes.create_string_buffer(name.encode()[:15])
    _checked(_libc().prctl(_PR_SET_NAME, ctypes.addressof(text), 0, 0, 0))


def die_with_parent() -> None:
    """Be killed when the parent exits, also when that was killed (PR_SET_PDEATHSIG)."""
    _checked(_libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def become_subreaper() -> None:
    """Adopt orphaned descendants, so that they are reaped at the end."""
    _checked(_libc().prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def allow_tracing() -> None:
    """Let any process trace this one, where Yama allows only its ancestors to (ptrace_scope 1)."""
    # EINVAL without Yama, where nothing needs to be allowed.
    _libc().prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1).value, 0, 0, 0)


def seize(pid: int) -> None:
    """Trace a process without stopping it (PTRACE_SEIZE)."""
    _checked(_libc().ptrace(_PTRACE_SEIZE, pid, None, None))


def new_pid_namespace() -> None:
    """Let the next child be PID 1 of a new PID namespace; with a user namespace where needed.

    Raises:
        OSError: neither is allowed.
    """
    libc = _libc()
    try:
        _checked(libc.unshare(CLONE_NEWPID))
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        _checked(libc.unshare(CLONE_NEWUSER | CLONE_NEWPID))
        proc = Path("/proc/self")
        (proc / "setgroups").write_text("deny")
        (proc / "uid_map").write_text(f"{uid} {uid} 1")
        (proc / "gid_map").write_text(f"{gid} {gid} 1")


def exit_this_thread() -> None:
    """End the calling thread only; called by the main thread, it leaves a dead thread-group leader.

    Raises:
        OSError: the number of the system call is not known for this architecture.
    """
    number = _SYS_EXIT.get(os.uname().machine)
    if number is None:
        raise OSError(f"exit(2) has no known number on {os.uname().machine}")
    _libc().syscall(number, 0)


def pause_without_interpreter() -> None:
    """Sleep forever in the C library, without holding the interpreter's lock."""
    while True:
        _libc().pause()
