"""Whether the agent is alive and ready, and the figures that other threads read. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

from tracer.clock import NS
from tracer.model import Losses

STALE_AFTER_SECONDS = 30
"""A loop that has not ticked for this long hangs: its longest work is one snapshot of
300,000 zombies from /proc, 5 s on a slow machine."""

OTHER = "_other"
"""Stands for everything beyond a limit; no Kubernetes name begins with an underscore."""


@dataclass(frozen=True, slots=True)
class ZombieGroup:
    """Detected zombies of one container with one cause, those of storms included.

    Attributes:
        namespace, pod, container: whose; None outside pods.
        cause: code of the diagnosis; None when there is none.
        zombies: how many, unreaped now.
        oldest_since_boot_ns: when the oldest of them died, or was first seen.
        kernel_bytes: kernel memory that they hold.
    """

    namespace: str | None
    pod: str | None
    container: str | None
    cause: str | None
    zombies: int
    oldest_since_boot_ns: int | None
    kernel_bytes: int


_NO_LOSSES = Losses()


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine is doing, for probes and gauges.

    Attributes:
        last_tick_boot_ns: when its loop last ran; None before the first time.
        source: core, bcc or proc; None until one is attached.
        not_ready: why its reports may be incomplete or late now; None when they are not.
        groups: its zombies now.
        exits: processes that died since the source started; None when not seen.
        losses: of the source since it started.
        sink_drops: events that sinks dropped.
        snapshot_ns: how long the last snapshot took; None before the first.
        kubernetes_up: whether the pod watch is fresh; None when there is none.
    """

    last_tick_boot_ns: int | None = None
    source: str | None = None
    not_ready: str | None = "no source is attached yet"
    groups: tuple[ZombieGroup, ...] = ()
    exits: int | None = None
    losses: Losses = _NO_LOSSES
    sink_drops: int = 0
    snapshot_ns: int | None = None
    kubernetes_up: bool | None = None


def lost_by_stage(losses: Losses, sink_drops: int) -> dict[str, int]:
    """Return what was lost under the names of the stages, for the log and the metrics.

    The stages are the fields of Losses, and `sink` for lines that a sink could not write.
    """
    return {
        **{stage.name: getattr(losses, stage.name) for stage in fields(losses)},
        "sink": sink_drops,
    }


StatusFunction = Callable[[], EngineStatus]
"""Called from the threads of the HTTP server; returns at once (StatusBoard.current)."""


class StatusBoard:
    """Holds the newest EngineStatus. One thread publishes, any thread reads.

    No lock is needed: a status is immutable and replaced as a whole.
    """

    def __init__(self) -> None:
        self._status = EngineStatus()

    def current(self) -> EngineStatus:
        """Return the newest status."""
        return self._status

    def publish(self, status: EngineStatus) -> None:
        """Replace the status."""
        self._status = status

    def tick(self, now_boot_ns: int) -> None:
        """Note that the loop is alive, in the middle of long work."""
        self._status = replace(self._status, last_tick_boot_ns=now_boot_ns)


def why_not_alive(
    status: EngineStatus, now_boot_ns: int, stale_after_seconds: float = STALE_AFTER_SECONDS
) -> str | None:
    """Return why the agent should be restarted; None when it should not.

    An engine that has not begun its loop is alive: attaching may take as long as
    it needs, and an agent that cannot run exits.
    """
    if status.last_tick_boot_ns is None:
        return None
    silent_ns = now_boot_ns - status.last_tick_boot_ns
    if silent_ns <= stale_after_seconds * NS:
        return None
    return f"the loop has not ticked for {silent_ns // NS} s"


def fold(groups: Iterable[ZombieGroup], limit: int) -> list[ZombieGroup]:
    """Return the groups of at most so many containers, all others together as _other.

    Those with the most zombies stay, and among equals the first by name, so that
    a series does not come and go without a reason. Sums are kept exactly.
    """
    containers: dict[tuple[str, str, str], list[ZombieGroup]] = {}
    for group in groups:
        containers.setdefault(_container(group), []).append(group)
    ranked = sorted(
        containers.items(), key=lambda item: (-sum(each.zombies for each in item[1]), item[0])
    )
    kept = [group for _, of in ranked[:limit] for group in of]
    folded: dict[str, ZombieGroup] = {}
    for _, of in ranked[limit:]:
        for group in of:
            cause = group.cause or ""
            folded[cause] = _added(folded.get(cause), group)
    return sorted(kept, key=lambda group: (*_container(group), group.cause or "")) + [
        folded[cause] for cause in sorted(folded)
    ]


def oldest(groups: Iterable[ZombieGroup]) -> int | None:
    """Return when the oldest zombie of those groups died; None when it is unknown."""
    known = [group.oldest_since_boot_ns for group in groups]
    return min((moment for moment in known if moment is not None), default=None)


def _container(group: ZombieGroup) -> tuple[str, str, str]:
    return group.namespace or "", group.pod or "", group.container or ""


def _added(total: ZombieGroup | None, group: ZombieGroup) -> ZombieGroup:
    if total is None:
        return replace(group, namespace=OTHER, pod=OTHER, container=OTHER)
    return replace(
        total,
        zombies=total.zombies + group.zombies,
        oldest_since_boot_ns=oldest((total, group)),
        kernel_bytes=total.kernel_bytes + group.kernel_bytes,
    )
