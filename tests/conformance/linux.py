"""System calls that Python has no names for, and what /proc says: for actors."""

import ctypes
import os
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long

SIGCHLD = 17
CLONE_PARENT = 0x8000
CLONE_NEWPID = 0x20000000
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36
PTRACE_SEIZE = 0x4206
P_PID = os.P_PID
PF_EXITING = 4  # include/linux/sched.h
WALL = 0x40000000  # __WALL: children with any exit signal

_CALLS = {
    "x86_64": {"clone": 56, "exit": 60, "exit_group": 231, "clone3": 435},
    "aarch64": {"clone": 220, "exit": 93, "exit_group": 94, "clone3": 435},
}[os.uname().machine]


def checked(result):
    """Raise the error of a C call that returned -1."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def clone(flags, body):
    """Fork with flags and an exit signal; the child runs body() and exits with what it returns."""
    pid = checked(LIBC.syscall(_CALLS["clone"], flags, 0, 0, 0, 0))
    if pid == 0:
        os._exit(body() or 0)
    return pid


class CloneArguments(ctypes.Structure):
    """struct clone_args, up to set_tid_size (Linux 5.5)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
        )
    ]


def fork_as(pid, body):
    """Fork a child that gets this very pid; OSError when it is taken or not allowed."""
    wanted = (ctypes.c_int * 1)(pid)
    arguments = CloneArguments(
        exit_signal=SIGCHLD, set_tid=ctypes.addressof(wanted), set_tid_size=1
    )
    size = ctypes.sizeof(arguments)
    born = checked(LIBC.syscall(_CALLS["clone3"], ctypes.byref(arguments), size))
    if born == 0:
        os._exit(body() or 0)
    return born


def exit_thread():
    """End the calling thread alone, as pthread_exit() in main() does."""
    LIBC.syscall(_CALLS["exit"], 0)


def exit_group(code):
    """End the process from any thread."""
    LIBC.syscall(_CALLS["exit_group"], code)


def prctl(option, argument):
    """Set an option of this process."""
    checked(LIBC.prctl(option, argument, 0, 0, 0))


def unshare_pids():
    """Put children that are forked from here on into a new pid namespace."""
    checked(LIBC.unshare(CLONE_NEWPID))


def boot_ns():
    """Return the boot clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def fork(body):
    """Fork a child that runs body() and exits with what it returns."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = body() or 0
        finally:
            os._exit(code)
    return pid


def hold_on(hold, release, code=0):
    """Live until everybody else has closed the pipe's writing end; return the exit code."""
    os.close(release)
    os.read(hold, 1)
    return code


def stat(pid):
    """Return the fields of /proc/PID/stat from the state on; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_exiting(pid):
    """Whether a process has begun to exit and is not dead yet."""
    fields = stat(pid)
    return fields and int(fields[6]) & PF_EXITING and fields[0] != "Z"


def children(parent):
    """Return the pids of all children of a process, dead ones too."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if (fields := stat(pid)) and int(fields[1]) == parent]


def until(probe, what):
    """Call until it returns something true."""
    deadline = time.monotonic() + 20
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come true")
        time.sleep(0.01)  # a look at all of /proc takes milliseconds, in an emulated guest many
    return found


def dead(pid):
    """Wait until that process is a zombie, whoever's child it is."""
    until(
        lambda: (fields := stat(pid)) and fields[0] == "Z" and fields[17] == "1", f"death of {pid}"
    )
    return pid


def wait_status(pid, options=0):
    """Return the wait(2) status of a dead child of ours without reaping it."""
    info = os.waitid(P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    if info.si_code == os.CLD_EXITED:
        return info.si_status << 8
    return info.si_status | (0x80 if info.si_code == os.CLD_DUMPED else 0)
