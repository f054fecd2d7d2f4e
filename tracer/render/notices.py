"""Events without a zombie as one line of the live view: start, stop, summary, source, PIDs."""

from collections.abc import Iterator, Mapping

from tracer.clock import NS
from tracer.durations import short_duration
from tracer.model.event import Event, EventName

_Facts = dict[str, object]
"""An event's known facts by their dotted paths."""


def notice(event: Event) -> str:
    """Return what an event reports, in one line; names in it are not escaped yet."""
    facts = dict(_flat(event.fields))
    parts = _NOTICES.get(event.name, _unknown)(facts)
    return ", ".join(part for part in (*parts, _lost(facts)) if part)


def _started(facts: _Facts) -> Iterator[str]:
    reason = facts.get("source.reason")
    yield f"source {facts.get('source.name', 'unknown')}" + (f" ({reason})" if reason else "")
    yield "press Ctrl-C to stop"


def _stopped(facts: _Facts) -> Iterator[str]:
    yield str(facts.get("source.reason", "stopped"))
    yield from _counts(facts)


def _summary(facts: _Facts) -> Iterator[str]:
    yield from _counts(facts)
    error = facts.get("kubernetes.error")
    if error:
        yield f"Kubernetes: {error}"


def _source(facts: _Facts) -> Iterator[str]:
    name, previous = facts.get("source.name", "no source"), facts.get("source.previous")
    changed = f"{name} instead of {previous}" if previous not in {None, name} else f"{name}"
    reason = facts.get("source.reason")
    yield changed + (f" ({reason})" if reason else "")


def _kubernetes(facts: _Facts) -> Iterator[str]:
    if facts.get("kubernetes.up"):
        away = facts.get("kubernetes.away_seconds")
        after = f" after {short_duration(int(away * NS))}" if isinstance(away, float) else ""
        yield f"the API server can be reached again{after}"
        return
    error = facts.get("kubernetes.error")
    yield "the API server cannot be reached" + (f" ({error})" if error else "")
    yield str(facts.get("kubernetes.fallback", "pod names may be out of date"))


def _pids(facts: _Facts) -> Iterator[str]:
    pod = facts.get("k8s.pod.name")
    if pod:
        yield f"{facts.get('k8s.namespace.name', '-')}/{pod}"
    yield f"{facts.get('pids.used', '?')} of {facts.get('pids.limit', '?')} PIDs used"
    zombies = facts.get("pids.zombies")
    if zombies:
        yield f"{zombies} by zombies"
    growth, left = facts.get("pids.growth_per_second"), facts.get("pids.seconds_to_exhaustion")
    if isinstance(growth, (int, float)) and growth > 0:
        yield f"+{growth:.3g}/s"
    if isinstance(left, (int, float)):
        yield f"exhausted in {short_duration(int(left * NS))}"


def _unknown(facts: _Facts) -> Iterator[str]:
    return (f"{path} {value}" for path, value in facts.items() if not path.startswith("k8s."))


_NOTICES = {
    EventName.AGENT_STARTED: _started,
    EventName.AGENT_STOPPED: _stopped,
    EventName.SUMMARY: _summary,
    EventName.SOURCE_CHANGED: _source,
    EventName.KUBERNETES_CHANGED: _kubernetes,
    EventName.PIDS_PRESSURE: _pids,
}


def _counts(facts: _Facts) -> Iterator[str]:
    now = facts.get("zombies.now")
    if now is not None:
        yield f"{now} {'zombie' if now == 1 else 'zombies'} now"
    for what in ("detected", "reaped"):
        if f"zombies.{what}" in facts:
            yield f"{facts[f'zombies.{what}']} {what}"


def _lost(facts: _Facts) -> str:
    lost = [
        f"{path.removeprefix('lost.').replace('_', ' ')} {count}"
        for path, count in facts.items()
        if path.startswith("lost.") and count
    ]
    return f"lost: {', '.join(lost)}" if lost else ""


def _flat(fields: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the known facts with their dotted paths; lists are left to the JSON."""
    for name, value in fields.items():
        below = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, below)
        elif value is not None and not isinstance(value, (list, tuple)):
            yield below, value
