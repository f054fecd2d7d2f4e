"""Constructs what serves live views, from the parts of the agent."""

from collections.abc import Callable
from functools import partial

from tracer.agent.age_gate import AgeGate
from tracer.agent.follower import Pipeline
from tracer.agent.followers import Followers
from tracer.agent.record import Investigator
from tracer.agent.reporter import EventSink, Reporter
from tracer.attribution.attributor import Attributor
from tracer.attribution.filters import Filters
from tracer.clock import NS
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import living_process, zombie_parent
from tracer.table.storm import StormRules
from tracer.table.table import Table

FOLLOW_STORMS = StormRules(interval_ns=5 * NS)
"""In a live view a storm is reported more often than in a log: somebody watches."""


def hold_ns(min_age_ns: int) -> int:
    """Return how long a detection may wait for its pod's name."""
    return NS // 4 if min_age_ns > NS else NS // 10


def build_followers(
    options: Options,
    proc: ProcFs,
    attributor: Attributor,
    investigator: Investigator,
    wake: Callable[[], None],
) -> Followers:
    """Build what serves live views: each filters for itself, so their reporters filter nothing.

    Args:
        options: the agent's.
        proc: the host's /proc.
        attributor: the agent's own; views are served by the same thread.
        investigator: the agent's own.
        wake: ends the engine's sleep.
    """

    def make(min_age_ns: int, sink: EventSink) -> Pipeline:
        table = Table(min_age_ns, FOLLOW_STORMS, partial(living_process, proc))
        reporter = Reporter(
            proc=proc,
            attributor=attributor,
            filters=Filters(),
            investigator=investigator,
            sink=sink,
            siblings=table.siblings,
            hold_ns=hold_ns(min_age_ns),
        )
        return Pipeline(table, reporter)

    gate = AgeGate(options.min_age_ns, partial(zombie_parent, proc))
    return Followers(options.min_age_ns, make, gate, wake)
