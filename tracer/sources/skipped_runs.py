"""How often the kernel skipped a BPF program, because it was running on that processor already.

Where tracepoints can be preempted (seen on 7.2) a hook can be interrupted, and what happens on
its processor meanwhile is not seen. The kernel counts that per program since Linux 5.12, for
other tracepoints than raw ones since 6.7. proc(5) does not describe the line:
bpf_prog_show_fdinfo(), kernel/bpf/syscall.c.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tracer.clock import NS

PAUSE_NS = NS
"""The counts are read at most so often."""

_LINE = re.compile(rb"^recursion_misses:\s*(\d+)", re.MULTILINE)


def read_fdinfo(descriptor: int) -> bytes:
    """Return what /proc says of a descriptor of this process."""
    return Path(f"/proc/self/fdinfo/{descriptor}").read_bytes()


class SkippedRuns:
    """The counts of several programs.

    Args:
        descriptors: of the programs, by the name of the hook.
        read: returns the fdinfo of a descriptor; may raise OSError.
    """

    def __init__(
        self, descriptors: Mapping[str, int], read: Callable[[int], bytes] = read_fdinfo
    ) -> None:
        self._descriptors = descriptors
        self._read = read
        self._counts = dict.fromkeys(descriptors, 0)
        self._next_boot_ns = 0

    def expire(self) -> None:
        """Have the next update() read the counts, however recent they are."""
        self._next_boot_ns = 0

    def update(self, now_boot_ns: int) -> None:
        """Read the counts again, unless that was less than PAUSE_NS ago."""
        if now_boot_ns < self._next_boot_ns:
            return
        self._next_boot_ns = now_boot_ns + PAUSE_NS
        for hook, descriptor in self._descriptors.items():
            try:
                found = _LINE.search(self._read(descriptor))
            except OSError:  # out of descriptors: the count stays what it was
                continue
            if found:
                self._counts[hook] = int(found[1])

    def count(self, *hooks: str) -> int:
        """Return how often these hooks together were skipped, as of the last update()."""
        return sum(self._counts.get(hook, 0) for hook in hooks)
