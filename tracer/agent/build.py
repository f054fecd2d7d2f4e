"""Puts the parts together as options ask: sources, identity, Kubernetes, the engine."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tracer.attribution.attributor import Attributor
from tracer.diagnosis.evidence import Finding, Investigator
from tracer.errors import PermanentError
from tracer.kubernetes.config import connect
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.node_logs import NodeLogs
from tracer.kubernetes.watch import PodWatch
from tracer.model import Attribution, Source, Zombie
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup
from tracer.procfs.zombie import ZombieView
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource
from tracer.sources.select import Makers


def source_makers(options: Options, proc: ProcFs) -> Makers:
    """Return how to construct each source."""

    def core() -> Source:
        return CoreSource(min_age_ns=options.min_age_ns, map_entries=options.map_entries)

    def bcc() -> Source:
        from tracer.sources.bcc.source import BccSource  # noqa: PLC0415 - few nodes need it

        return BccSource(proc, options.min_age_ns)

    def by_proc() -> Source:
        return ProcSource(proc, options.min_age_ns)

    return {"core": core, "bcc": bcc, "proc": by_proc}


class CurrentInvestigator:
    """Diagnoses with the evidence of the source in use."""

    def __init__(self, proc: ProcFs) -> None:
        self._proc = proc
        self._investigator: Investigator | None = None

    def use(self, source: Source) -> None:
        """Ask this source from now on."""
        self._investigator = Investigator(self._proc, source)

    def investigate(
        self,
        zombie: Zombie,
        attribution: Attribution | None,
        now_boot_ns: int,
        siblings: int,
        view: ZombieView | None,
    ) -> Finding:
        """Investigate one zombie."""
        if self._investigator is None:
            raise PermanentError("no source is attached")
        return self._investigator.investigate(zombie, attribution, now_boot_ns, siblings, view)


@dataclass(frozen=True, slots=True)
class Identification:
    """Whose a zombie is, and where that is known from.

    Attributes:
        attributor: asks.
        pods: the watch on this node's pods, None without an API server.
        reason: why that API server, or why none.
    """

    attributor: Attributor
    pods: PodWatch | None
    reason: str


def identification(options: Options, proc: ProcFs, *, watch: bool = True) -> Identification:
    """Build what attributes zombies. The watch is not started.

    Raises:
        UsageError: --kubeconfig makes no sense.
    """
    index: PodIndex | None = None
    pods: PodWatch | None = None
    reason = "--no-kubernetes"
    if options.kubernetes and watch:
        choice = connect(options.kubeconfig)
        reason = choice.reason
        if choice.access is not None:
            index = PodIndex()
            pods = PodWatch(choice.access, options.node_name, index)
    attributor = Attributor(partial(read_cgroup, proc), index, NodeLogs(Path("/")))
    return Identification(attributor, pods, reason)


def start_logging(options: Options, handler: logging.Handler | None = None) -> None:
    """Send the program's own messages to a handler, by default to stderr, one per line."""
    logging.captureWarnings(capture=True)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="tracer: %(levelname)s: %(message)s",
        handlers=None if handler is None else [handler],
        force=handler is not None,
    )


def open_proc(options: Options) -> ProcFs:
    """Open the proc root.

    Raises:
        PermanentError: it is none.
    """
    proc = ProcFs(options.proc_root)
    if proc.boot_id() is None:
        raise PermanentError(
            f"--proc-root {options.proc_root} is no proc file system of a host"
            " (it has no sys/kernel/random/boot_id); mount the host's /proc there"
        )
    return proc
