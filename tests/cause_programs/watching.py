"""Diagnoses every zombie of the sandbox, young and settled, as the agent would."""

import time
from dataclasses import dataclass, field

from cause_programs.sandbox import RunningCase, Sandbox
from tracer.clock import NS, boot_ns
from tracer.diagnosis.evidence import Finding, Investigator
from tracer.model import Child, Identity, Source, Zombie
from tracer.procfs.fs import ProcFs
from tracer.procfs.zombie import read_zombie

YOUNG_NS = NS
_PAUSE_SECONDS = 0.25


@dataclass
class Seen:
    """The diagnoses of one case's zombies.

    Attributes:
        young: of each zombie, the first one at an age of a second or more.
        latest: of each zombie, the last one.
    """

    young: dict[Identity, Finding] = field(default_factory=dict)
    latest: dict[Identity, Finding] = field(default_factory=dict)


class Watcher:
    """Diagnoses the zombies of a sandbox with one source."""

    def __init__(self, source: Source, proc: ProcFs, sandbox: Sandbox) -> None:
        self._source = source
        self._proc = proc
        self._sandbox = sandbox
        self._investigator = Investigator(proc, source)
        self._first_seen: dict[Identity, int] = {}
        self.seen: dict[str, Seen] = {one.case.name: Seen() for one in sandbox.running}
        self.seconds_in_diagnosis = 0.0
        self.diagnoses = 0

    def watch(self, seconds: float) -> None:
        """Diagnose again and again for this long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.diagnose_all()
            time.sleep(_PAUSE_SECONDS)

    def diagnose_all(self) -> None:
        """Diagnose all zombies of a second and more that are there now."""
        self._source.poll(boot_ns())
        snapshot = self._source.snapshot()
        children = [snapshot.child(index) for index, _ in enumerate(snapshot.keys())]
        now = boot_ns()
        families: dict[int, int] = {}
        for child in children:
            families[child.parent_pid] = families.get(child.parent_pid, 0) + 1
        for child in children:
            case = self._case_of(child)
            if case is not None:
                self._diagnose(child, case, families[child.parent_pid] - 1, now)

    def _case_of(self, child: Child) -> RunningCase | None:
        if child.cgroup is not None:
            path = child.cgroup.path
        else:
            raw = (self._proc.cgroup(child.identity.pid) or b"").decode()
            path = next((line[3:] for line in raw.splitlines() if line.startswith("0::")), "")
        top = "/" + path.lstrip("/").partition("/")[0]
        return next((one for one in self._sandbox.running if one.path == top), None)

    def _diagnose(self, child: Child, running: RunningCase, siblings: int, now: int) -> None:
        first = self._first_seen.setdefault(child.identity, now)
        zombie = Zombie(child, first, first, siblings)
        if zombie.age_ns(now) < YOUNG_NS:
            return
        begun = time.perf_counter()
        view = read_zombie(self._proc, child.identity)
        finding = self._investigator.investigate(zombie, None, now, siblings, view)
        self.seconds_in_diagnosis += time.perf_counter() - begun
        self.diagnoses += 1
        seen = self.seen[running.case.name]
        seen.young.setdefault(child.identity, finding)
        seen.latest[child.identity] = finding
