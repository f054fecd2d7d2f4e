"""The wait call that a thread is blocked in, from /proc/PID/task/TID/syscall. Pure.

The file has the number of the system call and its six arguments in hexadecimal, or
`running`, or `-1` outside system calls (fs/proc/base.c, proc_pid_syscall).
"""

from tracer.model import BlockedWait, WaitFor

WNOTHREAD = 0x20000000
"""__WNOTHREAD of waitpid(2): only the calling thread's own children."""

_P_ALL, _P_PID, _P_PGID, _P_PIDFD = range(4)
"""idtype_t of waitid(2)."""

_NUMBERS = {
    "x86_64": (61, 247),
    "aarch64": (260, 95),
    "riscv64": (260, 95),
    "ppc64le": (114, 272),
    "s390x": (114, 281),
}
"""wait4 and waitid by architecture (the kernel's syscall tables)."""


def parse_syscall(raw: bytes, machine: str) -> BlockedWait | None:
    """Return the wait call in the file; None when the thread is in another call or in none.

    Args:
        raw: the file.
        machine: architecture as uname(2) names it. Programs of another one (i386 on
            x86_64) have other numbers, which is why callers check wchan too.
    """
    fields = raw.split()
    wait4, waitid = _NUMBERS.get(machine, (None, None))
    if len(fields) < 5 or wait4 is None or not fields[0].isdigit() or len(fields[0]) > 9:
        return None
    try:
        arguments = [int(field, 16) for field in fields[1:5]]
    except ValueError:
        return None
    if int(fields[0]) == wait4:
        return _wait4(_signed(arguments[0]), arguments[2] & 0xFFFFFFFF)
    if int(fields[0]) == waitid:
        return _waitid(arguments[0], _signed(arguments[1]), arguments[3] & 0xFFFFFFFF)
    return None


def _signed(word: int) -> int:
    """Return the 32-bit signed number in a register."""
    low = word & 0xFFFFFFFF
    return low - (1 << 32) if low & 1 << 31 else low


def _wait4(pid: int, options: int) -> BlockedWait:
    if pid == -1:
        return BlockedWait(WaitFor.ANY, None, options)
    if pid > 0:
        return BlockedWait(WaitFor.PROCESS, pid, options)
    return BlockedWait(WaitFor.GROUP, -pid or None, options)


def _waitid(kind: int, number: int, options: int) -> BlockedWait | None:
    if kind == _P_ALL:
        return BlockedWait(WaitFor.ANY, None, options)
    if kind == _P_PID:
        return BlockedWait(WaitFor.PROCESS, number, options)
    if kind == _P_PGID:
        return BlockedWait(WaitFor.GROUP, number or None, options)
    # The number is a descriptor of the caller.
    return BlockedWait(WaitFor.PROCESS, None, options) if kind == _P_PIDFD else None
