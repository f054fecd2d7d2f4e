"""Runs all checks, in the order in which a person would read them."""

from collections.abc import Mapping

from tracer.clock import NS
from tracer.doctor import cluster, facts, probe
from tracer.doctor.check import Check, Report, Status
from tracer.model import Source
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource
from tracer.sources.select import Makers

_MAP_ENTRIES = 1024
"""A probe does not follow every process."""


def run_checks(options: Options, environment: Mapping[str, str]) -> Report:
    """Run every check. Starts sources for a moment and stops them again.

    Args:
        options: of the agent that will run here.
        environment: for $KUBECONFIG and the in-cluster variables.
    """
    procfs = ProcFs(options.proc_root)
    try:
        return _run_checks(options, environment, procfs)
    finally:
        procfs.close()


def _run_checks(options: Options, environment: Mapping[str, str], procfs: ProcFs) -> Report:
    attempts = probe.until_one_works(makers(procfs))
    choice = probe.choose(attempts)
    core = choice.name == "core"
    refused = probe.refused(attempts, "core")
    own = [facts.kernel(), facts.btf(), probe.check(attempts), *facts.own_capabilities()]
    own += [facts.seccomp(core_refused=refused), facts.memlock(core_refused=refused)]
    own.append(facts.memory(choice.name))
    proc = facts.proc(procfs)
    of_node = [proc] if proc.status is Status.FAILED else _of_node(proc, procfs, core_works=core)
    rest = [
        facts.clock(),
        facts.tracefs(core_works=core),
        facts.bcc(core_works=core),
        cluster.kubernetes(
            options.kubeconfig,
            options.node_name,
            off=not options.kubernetes,
            environment=environment,
        ),
        facts.state_dir(options.state_dir),
    ]
    return Report((*own, *of_node, *rest), choice)


def _of_node(proc: Check, procfs: ProcFs, *, core_works: bool) -> list[Check]:
    return [
        proc,
        facts.pid_namespace(procfs),
        facts.inspection(procfs),
        facts.cgroups(procfs, core_works=core_works),
        facts.limits(procfs),
    ]


def makers(procfs: ProcFs) -> Makers:
    """Return how to construct each source for a probe."""
    return {
        "core": lambda: CoreSource(min_age_ns=NS, map_entries=_MAP_ENTRIES),
        "bcc": lambda: _bcc(procfs),
        "proc": lambda: ProcSource(procfs, NS),
    }


def _bcc(procfs: ProcFs) -> Source:
    # Imported late: with LLVM it takes 63 MB, and is not needed where core works.
    from tracer.sources.bcc.source import BccSource  # noqa: PLC0415

    return BccSource(procfs, NS)
