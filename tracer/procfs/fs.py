"""Reading /proc. A process may vanish between any two reads: that is None, never an exception."""

import errno
import os
from pathlib import Path

from tracer.errors import TEMPORARY_ERRNOS, PermanentError
from tracer.model import Identity, Process
from tracer.procfs.parse import (
    ProcFormatError,
    Stat,
    Status,
    parse_cmdline,
    parse_namespace,
    parse_stat,
    parse_status,
)

__all__ = ["ProcFormatError", "ProcFs", "Stat", "Status"]

_VANISHED = frozenset({errno.ENOENT, errno.ESRCH, errno.ENOTDIR, errno.EINVAL})
"""EINVAL: readlink of a namespace link while the task is being released, before 5.x."""
_REFUSED = frozenset({errno.EACCES, errno.EPERM})
_ROOT_REMEDY = "give the path where the host's proc file system is mounted with --proc-root"
_CHUNK = 4096
"""A stat line, a status file and a comm all fit in it, and so are read by one system call."""
_THREADS_READ = 256
"""At most so many threads of a process are read to find those in state D."""


class ProcFs:
    """One mounted /proc.

    Attributes:
        root: where it is mounted.
        refused: reads so far that were refused for want of rights (hidepid, no ptrace
            rights). Such a read gives None, as for a process that is gone; may_inspect()
            distinguishes the two.
        unparsable: stat and status files met in scans that could not be parsed.
    """

    def __init__(self, root: Path | str = "/proc") -> None:
        self.root = Path(root)
        self.refused = 0
        self.unparsable = 0
        self._fd: int | None = None

    def fd(self) -> int:
        """Return a descriptor of the root, for openat(2) in hot loops; close() closes it.

        Raises:
            PermanentError: the root is not a proc file system.
            OSError: it cannot be opened now, for want of descriptors or memory.
        """
        if self._fd is None:
            self._fd = self._open_root()
        return self._fd

    def close(self) -> None:
        """Close the root. A later read opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open_root(self) -> int:
        try:
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in TEMPORARY_ERRNOS:
                raise
            raise PermanentError(
                f"cannot open the proc root {self.root}: {error.strerror}; {_ROOT_REMEDY}"
            ) from error
        genuine = False
        try:
            genuine = _is_proc(descriptor)
        finally:
            if not genuine:
                os.close(descriptor)
        if not genuine:
            raise PermanentError(f"{self.root} is not a proc file system; {_ROOT_REMEDY}")
        return descriptor

    def read(self, name: str) -> bytes | None:
        """Read a file below the root, such as `12/stat`; None when it is gone or refused.

        Raises:
            OSError: any other error, such as EMFILE; errors.is_temporary() classifies it.
        """
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd())
        except OSError as error:
            self._absent(error)
            return None
        try:
            return _read_all(descriptor)
        except OSError as error:
            self._absent(error)
            return None
        finally:
            os.close(descriptor)

    def link(self, name: str) -> str | None:
        """Read a symbolic link below the root; None when it is gone or refused."""
        try:
            return os.readlink(name, dir_fd=self.fd())
        except OSError as error:
            self._absent(error)
            return None

    def _absent(self, error: OSError) -> None:
        """Count a refusal, ignore a process that is gone, raise anything else."""
        if error.errno in _REFUSED:
            self.refused += 1
        elif error.errno not in _VANISHED:
            raise error

    def pids(self) -> list[int]:
        """Return every process's pid (thread-group leaders only), dead ones included."""
        # listdir rewinds a descriptor by itself; names of pids never begin with 0.
        return [int(name) for name in os.listdir(self.fd()) if name[0] in "123456789"]  # noqa: PTH208

    def threads(self, pid: int) -> list[int]:
        """Return the thread ids of a process, [] when it is gone."""
        try:
            descriptor = os.open(f"{pid}/task", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.fd())
        except OSError as error:
            self._absent(error)
            return []
        try:
            return [int(name) for name in os.listdir(descriptor)]  # noqa: PTH208 - a descriptor
        except OSError as error:
            self._absent(error)
            return []
        finally:
            os.close(descriptor)

    def stat(self, pid: int, tid: int | None = None) -> Stat | None:
        """Return /proc/PID/stat, or that of one of its threads."""
        raw = self.read(f"{pid}/stat" if tid is None else f"{pid}/task/{tid}/stat")
        return parse_stat(raw) if raw else None

    def status(self, pid: int) -> Status | None:
        """Return /proc/PID/status."""
        raw = self.read(f"{pid}/status")
        return parse_status(raw) if raw else None

    def cgroup(self, pid: int) -> bytes | None:
        """Return /proc/PID/cgroup as the kernel wrote it."""
        return self.read(f"{pid}/cgroup")

    def cmdline(self, pid: int) -> tuple[str, ...]:
        """Return the arguments; () for zombies, kernel threads and vanished processes."""
        return parse_cmdline(self.read(f"{pid}/cmdline") or b"")

    def executable(self, pid: int) -> str | None:
        """Return the path of the program; None for zombies, kernel threads and when refused."""
        return self.link(f"{pid}/exe")

    def pid_namespace(self, pid: int) -> int | None:
        """Return the inode number of the pid namespace; zombies still have one."""
        link = self.link(f"{pid}/ns/pid")
        return parse_namespace(link) if link else None

    def may_inspect(self, pid: int) -> bool | None:
        """Return whether the exit status in stat is true: whether we have ptrace rights.

        The namespace links ask for the same right (PTRACE_MODE_READ_FSCREDS in
        proc_ns_readlink and do_task_stat). None when the process vanished.
        """
        before = self.refused
        if self.link(f"{pid}/ns/pid") is not None:
            return True
        return False if self.refused > before else None

    def children(self, pid: int) -> list[int]:
        """Return the children of all threads of a process, zombies included.

        From /proc/PID/task/TID/children; on kernels without CONFIG_PROC_CHILDREN by asking
        every process for its parent. Children that come or go meanwhile may be missing.
        """
        lists = [self.read(f"{pid}/task/{tid}/children") for tid in self.threads(pid)]
        known = [raw for raw in lists if raw is not None]
        if known:
            return [int(word) for raw in known for word in raw.split()]
        stats = (self.stat(other) for other in self.pids())
        return [stat.pid for stat in stats if stat is not None and stat.ppid == pid]

    def process(self, pid: int) -> Process | None:
        """Return all that can be read cheaply; parts that are refused are None.

        `frozen` and `cgroup_path` are not filled in here. The command line is not read: that
        waits for the process's memory lock and so may block on a stuck process.
        """
        stat = self.stat(pid)
        status = self.status(pid)
        if stat is None:
            return None
        return Process(
            identity=Identity(pid, stat.start_ticks),
            comm=stat.comm,
            state=stat.state,
            parent_pid=stat.ppid,
            vpid=status.vpid if status else None,
            path=self.executable(pid),
            session=stat.session,
            group=stat.pgrp,
            threads=stat.num_threads,
            pid_namespace=self.pid_namespace(pid),
            tracer_pid=status.tracer_pid if status else None,
            sigchld_ignored=status.sigchld_ignored if status else None,
            sigchld_caught=status.sigchld_caught if status else None,
            sigchld_blocked=status.sigchld_blocked if status else None,
            threads_uninterruptible=self._uninterruptible(stat),
        )

    def _uninterruptible(self, stat: Stat) -> int:
        """Count threads in state D, among the first ones."""
        if stat.num_threads <= 1:
            return int(stat.state == "D")
        tids = self.threads(stat.pid)[:_THREADS_READ]
        threads = (self.stat(stat.pid, tid) for tid in tids)
        return sum(thread is not None and thread.state == "D" for thread in threads)

    def boot_id(self) -> str | None:
        """Return the random id of this boot; pids and start times mean nothing across boots."""
        raw = self.read("sys/kernel/random/boot_id")
        return raw.decode("ascii", "replace").strip() if raw else None

    def pid_max(self) -> int | None:
        """Return the number of pids that this machine has (/proc/sys/kernel/pid_max)."""
        raw = self.read("sys/kernel/pid_max")
        return int(raw) if raw else None


def _is_proc(root: int) -> bool:
    """Return whether a directory is the root of a proc file system.

    /proc/stat (of the machine) is in every proc mount, whatever its hidepid and pid namespace;
    subset=pid mounts lack it, and pid_max with it.
    """
    try:
        with open("stat", "rb", opener=lambda n, f: os.open(n, f, dir_fd=root)) as file:
            return file.read(3) == b"cpu"
    except OSError as error:
        if error.errno in TEMPORARY_ERRNOS:
            raise
        return False


def _read_all(descriptor: int) -> bytes:
    """Read a file to its end."""
    chunk = os.read(descriptor, _CHUNK)
    if len(chunk) < _CHUNK:
        # seq_file returns short only at the end or for lack of room in a page; what we read
        # whole fits in one, but long lists (cmdline, cgroup, children) need the loop.
        rest = os.read(descriptor, _CHUNK) if len(chunk) > _CHUNK // 2 else b""
        if not rest:
            return chunk
        chunk += rest
    parts = [chunk]
    while part := os.read(descriptor, 16 * _CHUNK):
        parts.append(part)
    return b"".join(parts)
