"""From a zombie in a snapshot to its record: attributed and diagnosed."""

from dataclasses import replace

from tracer.attribution.attributor import Attributor
from tracer.diagnosis.evidence import Investigator
from tracer.model import Attribution, Child, Evidence, Process, Record, Source, Zombie
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_command_line
from tracer.procfs.zombie import read_zombie


class RecordBuilder:
    """Builds records of zombies for the commands that take a snapshot.

    Args:
        proc: the host's /proc.
        source: started; asked how parents waited.
        attributor: finds the container and pod of a zombie.
        command_lines: whether records carry the parent's command line.
    """

    def __init__(
        self, proc: ProcFs, source: Source, attributor: Attributor, *, command_lines: bool = False
    ) -> None:
        self.investigator = Investigator(proc, source)
        self._proc = proc
        self._attributor = attributor
        self._command_lines = command_lines

    def attribute(self, child: Child) -> Attribution:
        """Return the container, pod or unit of a zombie."""
        return self._attributor.attribute(child, child.parent_pid or None)

    def build(
        self, child: Child, attribution: Attribution, siblings: int, now_boot_ns: int
    ) -> tuple[Record, Evidence]:
        """Diagnose a zombie; return its record and the evidence behind the cause.

        Args:
            child: the zombie.
            attribution: from attribute().
            siblings: other zombies of its parent.
            now_boot_ns: when the snapshot was taken.
        """
        zombie = Zombie(child, now_boot_ns, now_boot_ns, siblings)
        view = read_zombie(self._proc, child.identity)
        finding = self.investigator.investigate(zombie, attribution, now_boot_ns, siblings, view)
        # The evidence has the parent of now, as finding.parent is.
        zombie = replace(zombie, child=finding.evidence.child)
        record = Record(
            zombie,
            zombie.age_ns(now_boot_ns),
            finding.parent,
            finding.waits,
            attribution,
            finding.cause,
            command_line=self._command_line(finding.parent),
        )
        return record, finding.evidence

    def _command_line(self, parent: Process | None) -> str | None:
        if parent is None or not self._command_lines:
            return None
        return read_command_line(self._proc, parent.identity)
