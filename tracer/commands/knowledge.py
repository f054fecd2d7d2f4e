"""What a command that shows zombies draws on: of the running agent, or its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tracer.agent import build
from tracer.attribution.attributor import Attributor
from tracer.commands import saved_facts
from tracer.commands.output import Output
from tracer.commands.pod_names import wait_for_pod_names
from tracer.commands.saved_facts import SavedFacts
from tracer.model import Source
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.render.text import one_line
from tracer.sources.core.source import CoreSource
from tracer.sources.select import Makers, open_source


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What is known of the node's zombies and their parents.

    Attributes:
        proc: the host's /proc.
        source: started.
        attributor: finds the container and pod of a process.
        saved: what an agent saw or saved about zombies that the source does not know.
        wait_for_pod_names: called when a zombie in a container is found, before it is shown.
        of_agent: the source belongs to the running agent, whose own thread polls it.
    """

    proc: ProcFs
    source: Source
    attributor: Attributor
    saved: SavedFacts
    wait_for_pod_names: Callable[[], None] = lambda: None
    of_agent: bool = False


@contextmanager
def own_knowledge(
    chosen: Options, proc: ProcFs, output: Output, *, no_agent: str | None, only_look: bool
) -> Iterator[Knowledge]:
    """Open a source for this command alone, and say what is unknown because of that.

    Args:
        chosen: the options.
        proc: the host's /proc.
        output: where that is said.
        no_agent: why no agent answered; None when none was asked.
        only_look: it takes snapshots only, so nothing is hooked.

    Raises:
        PermanentError: the zombies cannot be seen here.
        TemporaryError: they cannot be seen now.
    """
    source, reason = open_source(chosen.source, make=_makers(chosen, proc, only_look=only_look))
    try:
        if no_agent is not None:
            output.err(
                f"tracer: {no_agent}: tracing started only now, after these zombies died, so"
                " their exit times, the processes that forked them, and the wait calls of their"
                " parents until now are unknown\n"
            )
        if source.name != "core" and chosen.source == "auto":
            output.err(f"tracer: {one_line(reason)}\n")
        found = build.identification(chosen, proc)
        yield Knowledge(
            proc,
            source,
            found.attributor,
            saved_facts.load(chosen, proc),
            partial(wait_for_pod_names, found.pods, output),
        )
    finally:
        source.close()


def _makers(chosen: Options, proc: ProcFs, *, only_look: bool) -> Makers:
    makers = dict(build.source_makers(chosen, proc))
    if only_look:
        # The task iterator is enough for that.
        makers["core"] = lambda: CoreSource(min_age_ns=0, map_entries=16, hooks=False)
    return makers
