"""What `tracer explain` has found out about one process."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tracer.model import Attribution, BlockedWait, Forker, Process, Record, Waits


class Kind(StrEnum):
    """What the pid turned out to be."""

    ZOMBIE = "zombie"
    REAPED = "reaped"
    """A zombie that was reaped while it was watched."""
    PARENT = "process"
    """A living process, with zombies or without."""
    DEAD_LEADER = "dead_leader"


class View(Protocol):
    """How a process waits for its children."""

    @property
    def waits(self) -> Waits | None:
        """Its wait calls so far; None when they were not observed."""

    @property
    def blocked(self) -> tuple[BlockedWait, ...]:
        """The wait calls in which its threads are now."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known about one pid.

    Attributes:
        kind: what it is.
        pid: the pid asked about.
        now_boot_ns: when this was gathered.
        watched_ns: for how long it was watched.
        source: core, bcc or proc.
        subject: the living process: the zombie's parent, or the process itself.
        view: how the subject waits.
        ancestors: from the init of its PID namespace down to the subject.
        records: the zombie asked about, or diagnosed zombies of the subject.
        family: when each zombie of the subject died, in boot time; 0 where unknown. There may
            be a million of them.
        attribution: the pod or unit of the zombie, or of the process.
        forker: the process that forked the subject.
        waited_for: the child that the subject waits for; None when it names none.
        living_children: of the subject; None when not counted.
        steps: what to do.
    """

    kind: Kind
    pid: int
    now_boot_ns: int
    watched_ns: int
    source: str
    subject: Process | None
    view: View
    ancestors: tuple[Process, ...]
    records: tuple[Record, ...]
    family: Sequence[int]
    attribution: Attribution
    forker: Forker | None = None
    waited_for: Process | None = None
    living_children: int | None = None
    steps: tuple[str, ...] = ()
