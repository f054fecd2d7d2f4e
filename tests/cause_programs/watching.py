"""Diagnoses every zombie of the sandbox, young and settled, as the agent would."""

import time
from dataclasses import dataclass, field

from cause_programs.sandbox import Kept, Sandbox
from tracer.clock import NS, boot_ns
from tracer.diagnosis.evidence import Finding, Investigator
from tracer.model import Child, Identity, Source, Zombie
from tracer.procfs.fs import ProcFs
from tracer.procfs.zombie import read_zombie

YOUNG_NS = NS
SETTLED_NS = 10 * NS
_PAUSE_SECONDS = 0.25


@dataclass
class Seen:
    """What was said of one case's zombies.

    Attributes:
        young: of each zombie when it was first seen at an age of a second.
        settled: the last word on each that is still there at the end, or was settled.
    """

    young: dict[Identity, Finding] = field(default_factory=dict)
    latest: dict[Identity, Finding] = field(default_factory=dict)


class Keeper:
    """Looks at the zombies of an sandbox with one source."""

    def __init__(self, source: Source, proc: ProcFs, sandbox: Sandbox) -> None:
        self._source = source
        self._proc = proc
        self._sandbox = sandbox
        self._investigator = Investigator(proc, source)
        self._first_seen: dict[Identity, int] = {}
        self.seen: dict[str, Seen] = {one.case.name: Seen() for one in sandbox.kept}
        self.seconds_in_diagnosis = 0.0
        self.diagnoses = 0

    def watch(self, seconds: float) -> None:
        """Look again and again for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.look()
            time.sleep(_PAUSE_SECONDS)

    def look(self) -> None:
        """Diagnose all zombies of a second and more that are there now."""
        self._source.poll(boot_ns())
        snapshot = self._source.snapshot()
        children = [snapshot.child(index) for index, _ in enumerate(snapshot.keys())]
        now = boot_ns()
        families: dict[int, int] = {}
        for child in children:
            families[child.parent_pid] = families.get(child.parent_pid, 0) + 1
        for child in children:
            kept = self._whose(child)
            if kept is not None:
                self._diagnose(child, kept, families[child.parent_pid] - 1, now)

    def _whose(self, child: Child) -> Kept | None:
        if child.cgroup is not None:
            path = child.cgroup.path
        else:
            raw = (self._proc.cgroup(child.identity.pid) or b"").decode()
            path = next((line[3:] for line in raw.splitlines() if line.startswith("0::")), "")
        top = "/" + path.lstrip("/").partition("/")[0]
        return next((one for one in self._sandbox.kept if one.path == top), None)

    def _diagnose(self, child: Child, kept: Kept, siblings: int, now: int) -> None:
        first = self._first_seen.setdefault(child.identity, now)
        zombie = Zombie(child, first, first, siblings)
        if zombie.age_ns(now) < YOUNG_NS:
            return
        begun = time.perf_counter()
        view = read_zombie(self._proc, child.identity)
        finding = self._investigator.investigate(zombie, None, now, siblings, view)
        self.seconds_in_diagnosis += time.perf_counter() - begun
        self.diagnoses += 1
        seen = self.seen[kept.case.name]
        seen.young.setdefault(child.identity, finding)
        seen.latest[child.identity] = finding
