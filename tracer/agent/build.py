"""Constructs the parts that several commands share, as the options ask."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from tracer.agent.backoff import Backoff
from tracer.agent.stop import StopRequest
from tracer.attribution.attributor import Attributor
from tracer.attribution.pod_cgroups import PodCgroups, choose_pod_cgroups
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError, classified, is_temporary
from tracer.kubernetes.config import connect
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.node_logs import NodeLogs
from tracer.kubernetes.watch import PodWatch
from tracer.model import Source
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_cgroup
from tracer.procfs.own_cgroup import read_own_cgroup
from tracer.procfs.timens import time_namespace_problem
from tracer.render.text import escape_untrusted, one_line
from tracer.sinks.diagnostics import log_what_python_prints
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource
from tracer.sources.select import Makers

_RETRY_FIRST_NS = NS
_RETRY_LONGEST_NS = 60 * NS

_log = logging.getLogger(__name__)
_Part = TypeVar("_Part")


def retried(
    construct: Callable[[], _Part], stop: StopRequest, waiting: Callable[[], None] = lambda: None
) -> _Part:
    """Construct a part of the agent, again and again while that fails temporarily.

    With no descriptors left at the start, an agent that gives up is restarted by its
    manager ever more slowly, and sees nothing meanwhile.

    Args:
        construct: makes the part.
        stop: ends the attempts.
        waiting: called once, after the reason was logged.

    Raises:
        Exception: whatever the construction raises that is not temporary; a temporary error
            once the agent was asked to end.
    """
    backoff = Backoff(_RETRY_FIRST_NS, _RETRY_LONGEST_NS)
    while True:
        try:
            return construct()
        except Exception as error:
            if not is_temporary(error) or stop.reason is not None:
                raise
            if not backoff.failures:
                _log.warning("cannot start yet: %s; trying again", classified(error))
                waiting()
            stop.sleep_until(boot_ns() + backoff.next_ns())


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


@dataclass(frozen=True, slots=True)
class Identification:
    """What attributes zombies to pods, and where it gets their names from.

    Attributes:
        attributor: finds the container, pod or systemd unit of a process.
        pods: the watch on this node's pods, None without an API server.
        index: what that watch fills.
        reason: why that API server, or why none.
    """

    attributor: Attributor
    pods: PodWatch | None
    index: PodIndex | None
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
    return Identification(attributor(options, proc, index), pods, index, reason)


def attributor(options: Options, proc: ProcFs, index: PodIndex | None) -> Attributor:
    """Build what finds containers and pods; for one thread, as it is not thread-safe."""
    return Attributor(
        partial(read_cgroup, proc),
        index,
        NodeLogs(Path("/")),
        detect=partial(_pod_cgroups, options, proc),
        outside=_warn_of_pods_elsewhere,
    )


def _pod_cgroups(options: Options, proc: ProcFs) -> PodCgroups:
    """Find where the kubelet of this node puts its pods."""
    own = read_own_cgroup(proc, options.pod_uid)
    return choose_pod_cgroups(own, pod_uid=options.pod_uid, cgroup_root=options.kubelet_cgroup_root)


def _warn_of_pods_elsewhere(path: str, pod_uid: str, pods: PodCgroups) -> None:
    _log.warning(
        "cgroup %s has the name of pod %s, but is not below %s, where pods are looked for (%s);"
        " its processes are not attributed to the pod; if this node's kubelet puts pods there,"
        " set --kubelet-cgroup-root",
        escape_untrusted(path),
        pod_uid,
        pods.roots,
        pods.reason,
    )


def warn_of_time_namespace(proc: ProcFs) -> None:
    """Log what goes wrong in a time namespace of this process's own."""
    problem = time_namespace_problem(proc)
    if problem is not None:
        _log.warning("%s", problem)


def start_logging(options: Options, handler: logging.Handler | None = None) -> None:
    """Send the program's own messages to a handler, by default to stderr, one per line.

    With a handler, what Python itself would print to stderr becomes a message as well.
    """
    if handler is None:
        logging.captureWarnings(capture=True)
    else:
        log_what_python_prints()
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(_OneLine("tracer: %(levelname)s: %(message)s"))
    logging.basicConfig(
        level=options.log_level.upper(),
        handlers=[to_stderr if handler is None else handler],
        force=handler is not None,
    )


class _OneLine(logging.Formatter):
    """Keeps a message on one line, whatever the API server or a tenant wrote into it."""

    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))


def open_proc(options: Options) -> ProcFs:
    """Open the proc root.

    Raises:
        PermanentError: it is not the proc file system of a host.
    """
    proc = ProcFs(options.proc_root)
    if proc.boot_id() is None:
        raise PermanentError(
            f"--proc-root {options.proc_root} is not the proc file system of a host"
            " (it has no sys/kernel/random/boot_id); mount the host's /proc there"
        )
    return proc
