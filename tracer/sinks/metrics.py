"""Prometheus metrics: counters from events, gauges from the engine's status when scraped.

The number of series does not grow with processes, and is bounded for pods: beyond
CONTAINERS containers or NAMESPACES namespaces the rest is counted as "_other".

A series about zombies has all three of namespace, pod and container, empty where it belongs to
none: a scrape with honor_labels would otherwise attach those of the agent's own pod.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tracer.clock import NS, boot_ns
from tracer.model import Attribution, Cause, CauseCode
from tracer.model.event import Event, EventName, StormContext
from tracer.model.status import (
    OTHER,
    EngineStatus,
    StatusFunction,
    ZombieGroup,
    fold,
    lost_by_stage,
    oldest,
)

CONTAINERS = 250
"""Containers with series of their own: more than the pods of a node (110 by default)."""

NAMESPACES = 250
"""Namespaces with counters of their own. A counter must not disappear again, so the
first ones seen keep theirs."""

_PLACE = ("namespace", "pod", "container")
_NO_POD = ("", "")

LIFETIME_BUCKETS = (1, 5, 10, 30, 60, 300, 600, 3600, 21600, 86400, 604800)
"""Seconds. A slow reaper takes seconds to minutes; a leak is only over when its parent dies."""


class MetricsSink:
    """A Sink that counts events, with the registry that an HTTP server serves.

    Args:
        status: called at every scrape, from the server's threads.
        clock: returns boot time in nanoseconds, for ages.
        process_metrics: add this process's memory, CPU time and open files.
    """

    def __init__(
        self,
        status: StatusFunction,
        *,
        clock: Callable[[], int] = boot_ns,
        process_metrics: bool = True,
    ) -> None:
        # All counters begin with the process: process_start_time_seconds says when.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry(auto_describe=False)
        self._namespaces: set[str] = set()
        self._detected = Counter(
            "zombie_tracer_detected",
            "Zombies that passed the minimum age, including those in storms.",
            [*_PLACE, "cause"],
            registry=self.registry,
        )
        self._reaped = Counter(
            "zombie_tracer_reaped",
            "Detected zombies that have been reaped.",
            _PLACE,
            registry=self.registry,
        )
        self._lifetime = Histogram(
            "zombie_tracer_zombie_lifetime_seconds",
            "Seconds from exit to reaping, of zombies that were reported one by one and whose"
            " exit was seen.",
            buckets=LIFETIME_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Gauges(status, clock))
        if process_metrics:
            ProcessCollector(registry=self.registry)

    def emit(self, event: Event) -> None:
        """Count one event."""
        if event.storm is not None:
            self._count_storm(event.storm)
        record = event.record
        if record is None:
            return
        namespace = self._namespace(record.attribution)
        if event.name is EventName.ZOMBIE_DETECTED:
            self._detected.labels(namespace, *_NO_POD, _cause(record.cause)).inc()
        elif event.name is EventName.ZOMBIE_REAPED:
            self._reaped.labels(namespace, *_NO_POD).inc()
            # Without a known time of exit the lifetime is a lower bound, not a measurement.
            if (
                record.lifetime_ns is not None
                and record.zombie.child.dead_since_boot_ns is not None
            ):
                self._lifetime.observe(record.lifetime_ns / NS)

    def dropped(self) -> int:
        """Return 0: counting never drops."""
        return 0

    def close(self, timeout_seconds: float) -> None:
        """Do nothing: there is nothing to write out."""

    def _count_storm(self, context: StormContext) -> None:
        """Count what a storm adds to its last event."""
        storm = context.storm
        namespace = self._namespace(context.attribution)
        detected = self._detected.labels(namespace, *_NO_POD, _cause(context.cause))
        detected.inc(storm.new_detected)
        self._reaped.labels(namespace, *_NO_POD).inc(storm.new_reaped)

    def _namespace(self, attribution: Attribution) -> str:
        name = "" if attribution.workload is None else attribution.workload.namespace
        if name in self._namespaces:
            return name
        if len(self._namespaces) >= NAMESPACES:
            return OTHER
        self._namespaces.add(name)
        return name


class _Gauges(Collector):
    """The gauges, computed from the engine's status at each scrape."""

    def __init__(self, status: StatusFunction, clock: Callable[[], int]) -> None:
        self._status = status
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        status = self._status()
        groups = fold(status.groups, CONTAINERS)
        yield _zombies(groups)
        yield _oldest_ages(groups, self._clock())
        yield _kernel_memory(groups)
        yield from _agent(status)


def _zombies(groups: Iterable[ZombieGroup]) -> Metric:
    metric = GaugeMetricFamily(
        "zombie_tracer_zombies",
        "Current number of zombies that passed the minimum age.",
        labels=[*_PLACE, "cause"],
    )
    counts: dict[tuple[str, str, str, str], int] = {}
    for group in groups:
        key = (*_labels(group), group.cause or CauseCode.UNKNOWN)
        counts[key] = counts.get(key, 0) + group.zombies
    for key, count in counts.items():
        metric.add_metric(key, count)
    return metric


def _oldest_ages(groups: Iterable[ZombieGroup], now_boot_ns: int) -> Metric:
    metric = GaugeMetricFamily(
        "zombie_tracer_oldest_zombie_age_seconds",
        "Seconds since the oldest zombie exited; a lower bound when its time of exit is unknown.",
        labels=_PLACE,
    )
    containers: dict[tuple[str, str, str], list[ZombieGroup]] = {}
    for group in groups:
        containers.setdefault(_labels(group), []).append(group)
    for key, of in containers.items():
        since = oldest(of)
        if since is not None:
            metric.add_metric(key, max(0, now_boot_ns - since) / NS)
    return metric


def _kernel_memory(groups: Iterable[ZombieGroup]) -> Metric:
    metric = GaugeMetricFamily(
        "zombie_tracer_kernel_memory_bytes",
        "Bytes of kernel memory that zombies hold; only reaping them frees it.",
        labels=_PLACE,
    )
    totals: dict[tuple[str, str, str], int] = {}
    for group in groups:
        namespace, pod, _ = _labels(group)
        key = (namespace, pod, "")
        totals[key] = totals.get(key, 0) + group.kernel_bytes
    for key, total in totals.items():
        metric.add_metric(key, total)
    return metric


def _agent(status: EngineStatus) -> Iterator[Metric]:
    if status.exits is not None:
        yield CounterMetricFamily(
            "zombie_tracer_exits",
            "Processes that have exited on this node since the source started.",
            value=status.exits,
        )
    lost = CounterMetricFamily(
        "zombie_tracer_lost",
        "Events lost, by the stage that lost them. After a loss a snapshot corrects the"
        " numbers of zombies; log lines lost in the stage sink stay missing.",
        labels=["stage"],
    )
    for stage, count in lost_by_stage(status.losses, status.sink_drops).items():
        lost.add_metric([stage], count)
    yield lost
    if status.source is not None:
        source = GaugeMetricFamily(
            "zombie_tracer_source_info",
            "Always 1; the label names the source in use.",
            labels=["source"],
        )
        source.add_metric([status.source], 1)
        yield source
    if status.snapshot_ns is not None:
        yield GaugeMetricFamily(
            "zombie_tracer_snapshot_duration_seconds",
            "Seconds that the last snapshot of all zombies took.",
            value=status.snapshot_ns / NS,
        )
    if status.kubernetes_up is not None:
        yield GaugeMetricFamily(
            "zombie_tracer_kubernetes_up",
            "1 while the watch on this node's pods is up; 0 while pod names come from the"
            " node's log files only.",
            value=float(status.kubernetes_up),
        )


def _labels(group: ZombieGroup) -> tuple[str, str, str]:
    return group.namespace or "", group.pod or "", group.container or ""


def _cause(cause: Cause | None) -> str:
    return CauseCode.UNKNOWN if cause is None else cause.code
