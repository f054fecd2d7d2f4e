"""One zombie's record: its files read once, its container and pod, its diagnosis."""

import logging
from dataclasses import replace
from typing import Protocol

from tracer.attribution.attributor import Attributor
from tracer.errors import is_temporary
from tracer.model import (
    UNKNOWN_TICKS,
    Attribution,
    Cause,
    Identity,
    Process,
    Record,
    Waits,
    Zombie,
)
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import is_alive, read_command_line
from tracer.procfs.zombie import ZombieView, read_zombie

_log = logging.getLogger(__name__)


class Finding(Protocol):
    """The result of an investigation."""

    @property
    def parent(self) -> Process | None:
        """The zombie's parent now."""

    @property
    def waits(self) -> Waits | None:
        """How the parent waits."""

    @property
    def cause(self) -> Cause:
        """The diagnosis."""


class Investigator(Protocol):
    """Gathers the evidence for a zombie and diagnoses it."""

    def investigate(
        self,
        zombie: Zombie,
        attribution: Attribution | None,
        now_boot_ns: int,
        siblings: int,
        view: ZombieView | None,
    ) -> Finding:
        """Investigate one zombie; `view` is None when it is gone."""


class RecordMaker:
    """Makes records. A transition reads its zombie with read(), and passes the view along.

    Where something cannot be read for want of descriptors or memory, the methods raise: a
    process that cannot be read now is not one that has died.

    Args:
        proc: where zombies and parents are read.
        attributor: finds container and pod.
        investigator: diagnoses.
        command_lines: whether records carry the parent's command line.
    """

    def __init__(
        self,
        proc: ProcFs,
        attributor: Attributor,
        investigator: Investigator,
        *,
        command_lines: bool,
    ) -> None:
        self._proc = proc
        self._attributor = attributor
        self._investigator = investigator
        self._command_lines = command_lines

    def read(self, zombie: Zombie) -> tuple[Zombie, ZombieView | None]:
        """Read a zombie; return it with its parent and tracer of now.

        A source reports the parent that it had at its death; that one may have died since.
        """
        view = read_zombie(self._proc, zombie.child.identity)
        if view is None:
            return zombie, None
        child, tracer_pid = zombie.child, zombie.child.tracer_pid
        if view.status is not None:
            tracer_pid = view.status.tracer_pid
        if (child.parent_pid, child.tracer_pid) != (view.stat.ppid, tracer_pid):
            child = replace(child, parent_pid=view.stat.ppid, tracer_pid=tracer_pid)
            zombie = replace(zombie, child=child)
        return zombie, view

    def process(self, identity: Identity) -> Process | None:
        """Read a process; None when it has died, also when its pid is in use again."""
        process = self._proc.process(identity.pid)
        if process is None or (process.state == "Z" and process.threads <= 1):
            return None
        unknown = identity.start_ticks == UNKNOWN_TICKS
        return process if unknown or process.identity == identity else None

    def lives(self, identity: Identity) -> bool:
        """Return whether a process is alive."""
        return is_alive(self._proc, identity)

    def attribute(self, zombie: Zombie, view: ZombieView | None) -> Attribution:
        """Return the container and pod of a zombie that was read."""
        return self._attributor.attribute(zombie.child, zombie.child.parent_pid or None, view)

    def attribute_process(self, identity: Identity) -> Attribution:
        """Return the container and pod of a living process; empty when it has died."""
        return self._attributor.attribute_process(identity)

    def investigate(
        self, zombie: Zombie, view: ZombieView | None, attribution: Attribution, now_boot_ns: int
    ) -> Record:
        """Diagnose a zombie that was read, and return its record.

        Without a cause when the diagnosis fails: that must not stop the agent.
        """
        record = Record(zombie, zombie.age_ns(now_boot_ns), None, None, attribution, None)
        try:
            finding = self._investigator.investigate(
                zombie, attribution, now_boot_ns, zombie.siblings, view
            )
        except Exception as error:
            if is_temporary(error):
                raise
            # One unusual process must not keep the others from being reported.
            _log.warning(
                "cannot diagnose zombie %s, which is reported without a cause: %r;"
                " please file a bug with this line",
                zombie.child.identity.pid,
                error,
            )
            return record
        command_line = None
        if self._command_lines and finding.parent is not None:
            command_line = read_command_line(self._proc, finding.parent.identity)
        return replace(
            record,
            parent=finding.parent,
            waits=finding.waits,
            cause=finding.cause,
            command_line=command_line,
        )
