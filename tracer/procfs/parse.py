"""Parsing what /proc says of a process: bytes in, records out, no I/O.

Sources: proc(5), fs/proc/array.c (stat, status) and fs/proc/base.c.
"""

import re
from typing import NamedTuple

SIGCHLD_BIT = 1 << 16
"""SIGCHLD in the signal masks of /proc/PID/status: signal 17 is bit 16 (all but Alpha, MIPS, …)."""


class ProcFormatError(ValueError):
    """The kernel wrote something that this program does not understand; quotes it."""


class Stat(NamedTuple):
    """/proc/PID/stat, the fields that tell of life, death and family.

    Attributes:
        pid: in the pid namespace of the /proc mount, as are ppid, pgrp and session.
        comm: the name, UTF-8 with backslash escapes for other bytes.
        state: R, S, D, T, t, Z, X, I (field 3).
        ppid: parent (field 4).
        pgrp: process group (field 5).
        session: session (field 6).
        num_threads: threads not yet released; over 1 with state Z is a dead leader whose other
            threads live (field 20).
        start_ticks: start time in clock ticks since boot (field 22).
        exit_status: as wait(2) would give it (field 52). The kernel writes 0 to readers without
            ptrace rights, so 0 means something only with them; None where the kernel has no
            such field (before 3.5).
        exit_signal: what its death sends to its parent, 17 (SIGCHLD) unless clone(2)
            asked for another (field 38).
    """

    pid: int
    comm: str
    state: str
    ppid: int
    pgrp: int
    session: int
    num_threads: int
    start_ticks: int
    exit_status: int | None
    exit_signal: int | None = None

    @property
    def is_zombie(self) -> bool:
        """Whether the whole process is dead and unreaped (a leader with living threads is not)."""
        return self.state == "Z" and self.num_threads <= 1


class Status(NamedTuple):
    """/proc/PID/status, what stat does not have.

    Attributes:
        uid: real user id, in the reader's user namespace.
        vpids: its pid in each pid namespace from the mount's inwards (NSpid).
        threads: as in Stat.
        tracer_pid: its ptrace tracer; None when it is not traced.
        sigchld_ignored, sigchld_caught, sigchld_blocked: disposition of SIGCHLD; of the
            process for the first two, of the thread for the last.
        sessions: its session in each pid namespace, as vpids; 0 where the session was made
            outside of that namespace (NSsid, Linux 4.1).
    """

    uid: int | None
    vpids: tuple[int, ...]
    threads: int | None
    tracer_pid: int | None
    sigchld_ignored: bool | None
    sigchld_caught: bool | None
    sigchld_blocked: bool | None
    sessions: tuple[int, ...] = ()

    @property
    def vpid(self) -> int | None:
        """Its pid in its own pid namespace."""
        return self.vpids[-1] if self.vpids else None


def text(raw: bytes) -> str:
    """Decode a tenant's bytes so that nothing is lost and nothing raises."""
    return raw.decode("utf-8", "backslashreplace")


def parse_stat(raw: bytes) -> Stat:
    """Parse /proc/PID/stat.

    The name may hold any byte, `) Z (` and newlines too: it ends at the last `)`.

    Raises:
        ProcFormatError: when it is not in the kernel's form.
    """
    opening = raw.find(b"(")
    closing = raw.rfind(b")")
    try:
        if opening < 0 or closing < opening:
            raise ValueError("no name in parentheses")  # noqa: TRY301 - one way out
        fields = raw[closing + 2 :].split()
        state = fields[0].decode("ascii")
        if len(state) != 1:
            raise ValueError("no state letter")  # noqa: TRY301
        return Stat(
            pid=int(raw[:opening]),
            comm=text(raw[opening + 1 : closing]),
            state=state,
            ppid=int(fields[1]),
            pgrp=int(fields[2]),
            session=int(fields[3]),
            num_threads=int(fields[17]),
            start_ticks=int(fields[19]),
            exit_status=int(fields[49]) if len(fields) > 49 else None,
            exit_signal=int(fields[35]) if len(fields) > 35 else None,
        )
    except (ValueError, IndexError) as error:
        raise ProcFormatError(f"cannot parse a stat line of /proc: {raw[:200]!r}") from error


_STATUS_LINE = re.compile(
    rb"^(Uid|NSpid|NSsid|Threads|TracerPid|SigBlk|SigIgn|SigCgt):[ \t]*([0-9a-fA-F \t]*)$",
    re.MULTILINE,
)


def parse_status(raw: bytes) -> Status:
    """Parse /proc/PID/status; lines that this kernel does not write become None.

    The kernel escapes newlines in `Name:`, so a name cannot forge a line.

    Raises:
        ProcFormatError: when a line is there but not in the kernel's form.
    """
    # First match wins: the kernel writes each once, and Name, the only line that others
    # choose, comes first and cannot hold a newline.
    lines: dict[bytes, bytes] = {}
    for match in _STATUS_LINE.finditer(raw):
        lines.setdefault(match[1], match[2])
    try:
        tracer = _number(lines.get(b"TracerPid"))
        return Status(
            uid=_number(lines.get(b"Uid")),
            vpids=tuple(map(int, lines.get(b"NSpid", b"").split())),
            threads=_number(lines.get(b"Threads")),
            tracer_pid=tracer or None,
            sigchld_ignored=_sigchld(lines.get(b"SigIgn")),
            sigchld_caught=_sigchld(lines.get(b"SigCgt")),
            sigchld_blocked=_sigchld(lines.get(b"SigBlk")),
            sessions=tuple(map(int, lines.get(b"NSsid", b"").split())),
        )
    except (ValueError, IndexError) as error:
        raise ProcFormatError(f"cannot parse a status file of /proc: {raw[:400]!r}") from error


def _number(value: bytes | None) -> int | None:
    """Return the first number of a line."""
    return None if value is None else int(value.split()[0])


def _sigchld(mask: bytes | None) -> bool | None:
    """Return whether a signal mask in hexadecimal has SIGCHLD."""
    return None if mask is None else bool(int(mask.strip(), 16) & SIGCHLD_BIT)


def parse_cmdline(raw: bytes) -> tuple[str, ...]:
    """Split /proc/PID/cmdline at its NULs; a program may have overwritten it with one string."""
    return tuple(text(part) for part in raw.rstrip(b"\0").split(b"\0")) if raw else ()


def parse_namespace(link: str) -> int:
    """Return the inode number in a namespace link such as `pid:[4026531836]`.

    Raises:
        ProcFormatError: when it has none.
    """
    match = re.fullmatch(r"[a-z_]+:\[([0-9]{1,20})\]", link)
    if match is None:
        raise ProcFormatError(f"cannot parse a namespace link of /proc: {link!r}")
    return int(match[1])
