"""The kernel's numbers and letters as words: wait statuses, signals, process states, owners."""

import signal

from tracer.model import Attribution

STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "uninterruptible",
    "T": "stopped",
    "t": "traced",
    "Z": "defunct",
    "X": "dead",
    "x": "dead",
    "I": "idle",
    "P": "parked",
    "K": "wakekill",
    "W": "waking",
}
"""State letters of /proc/PID/stat (task_state_array in fs/proc/array.c, proc(5)) as words."""

_SIGRTMIN = 34
"""glibc's first real-time signal for programs; it keeps the kernel's 32 and 33 for itself."""
_SIGRTMAX = 64
_NAMES = {
    number.value: number.name
    for number in signal.Signals
    if number.value < _SIGRTMIN and number.name != "SIGCLD"
}


def signal_name(number: int) -> str:
    """Name a signal as `kill -l` does: 9 is SIGKILL, 35 SIGRTMIN+1, 63 SIGRTMAX-1, 32 SIG32."""
    if number in _NAMES:
        return _NAMES[number]
    if not _SIGRTMIN <= number <= _SIGRTMAX:
        return f"SIG{number}"
    above, below = number - _SIGRTMIN, _SIGRTMAX - number
    name, distance = ("SIGRTMIN+", above) if above < 16 else ("SIGRTMAX-", below)
    return f"{name}{distance}" if distance else name[:-1]


def exit_code(status: int | None) -> int | None:
    """Return the exit code in a wait status; None when a signal killed it or it is unknown."""
    return None if status is None or status & 0x7F else status >> 8 & 0xFF


def exit_signal(status: int | None) -> str | None:
    """Name the signal in a wait status; None when it exited by itself or it is unknown."""
    return signal_name(status & 0x7F) if status is not None and status & 0x7F else None


def core_dumped(status: int | None) -> bool | None:
    """Return whether a wait status says that a core was dumped (WCOREFLAG)."""
    return None if status is None else bool(status & 0x7F and status & 0x80)


def exit_text(status: int | None) -> str:
    """Write a wait status: `0`, `137`, `SIGKILL`, `SIGSEGV core`, `-` for unknown."""
    name = exit_signal(status)
    if name is not None:
        return f"{name} core" if core_dumped(status) else name
    code = exit_code(status)
    return "-" if code is None else str(code)


def state_name(letter: str | None) -> str | None:
    """Spell out a state letter of /proc/PID/stat; an unknown letter stays a letter."""
    return None if letter is None else STATES.get(letter, letter)


def owner_text(attribution: Attribution) -> str:
    """Name where a process runs: `namespace/pod/container`, a container, a systemd unit, or `-`."""
    workload, container = attribution.workload, attribution.container
    if workload is not None:
        names = (workload.namespace, workload.pod, workload.container)
        return "/".join(name for name in names if name is not None)
    if container is not None and container.pod_uid is not None:
        return f"pod {container.pod_uid}"
    if container is not None and container.config_hash is not None:
        return f"static pod {container.config_hash}"
    if container is not None and container.id is not None:
        return f"{container.runtime or 'container'} {container.id[:12]}"
    return attribution.unit or "-"
