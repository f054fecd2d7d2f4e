"""Gathers what a diagnosis looks at. For now only the parent and how it waits."""

from dataclasses import dataclass

from tracer.procfs import ProcFs
from tracer.records import (
    Attribution,
    Cause,
    CauseCode,
    Confidence,
    Process,
    Source,
    Waits,
    Zombie,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one zombie."""

    parent: Process | None
    waits: Waits | None
    cause: Cause


class Investigator:
    """Looks at a zombie's parent."""

    def __init__(self, proc: ProcFs, source: Source) -> None:
        self._proc = proc
        self._source = source

    def investigate(
        self,
        zombie: Zombie,
        attribution: Attribution | None,  # noqa: ARG002
        now_boot_ns: int,  # noqa: ARG002
        siblings: int,  # noqa: ARG002
    ) -> Finding:
        """Investigate one zombie."""
        parent = self._proc.process(zombie.child.parent_pid)
        waits = None if parent is None else self._source.waits(parent.identity)
        cause = Cause(CauseCode.UNKNOWN, Confidence.POSSIBLE, (), "Nothing is known of its cause.")
        return Finding(parent, waits, cause)
