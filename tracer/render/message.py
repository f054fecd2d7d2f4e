"""The sentence of each line, for people and log viewers. Pure."""

from collections.abc import Callable, Mapping

from tracer.clock import NS
from tracer.durations import short_duration
from tracer.model import Attribution, Cause, CauseCode, Confidence, Process, Record, StormPhase
from tracer.model.event import Event, EventName, StormContext
from tracer.render.text import escape_untrusted
from tracer.render.words import owner_text

MAX_CHARACTERS = 300

_BECAUSE: Mapping[CauseCode, str] = {
    CauseCode.PARENT_NEVER_WAITS: ", which{} never waits for it",
    CauseCode.PARENT_WAITS_ELSEWHERE: ", which{} waits only for other children",
    CauseCode.SLOW_REAPER: ", which{} reaps its children late",
    CauseCode.INIT_DOES_NOT_REAP: ", which adopted it and{} does not reap it",
    CauseCode.EXEC_ORPHAN: "; a command executed in the container{} left it behind",
    CauseCode.RUNTIME_PARENT: ", a process of the container runtime that{} does not reap it",
    CauseCode.PARENT_STOPPED: ", which{} cannot run and therefore cannot reap it",
    CauseCode.TRACED: "; its tracer has{} not released it",
    CauseCode.SIGCHLD_IGNORED: ", which{} ignores SIGCHLD",
    CauseCode.UNKNOWN: "; the cause is unknown",
}
"""What follows the parent's name: why the zombie is not reaped, with a place for the confidence."""

_CONFIDENCE: Mapping[Confidence, str] = {
    Confidence.CERTAIN: "",
    Confidence.LIKELY: " probably",
    Confidence.POSSIBLE: " possibly",
}


def zombie_message(record: Record, event: EventName | None) -> str:
    """Return the sentence about a zombie.

    Args:
        record: the zombie.
        event: what happened to it; None for a list of zombies.
    """
    child = record.zombie.child
    who = f"{_process(child.comm, child.identity.pid)}{_place(record.attribution)}"
    parent = _parent(record.parent, child.parent_pid)
    age = short_duration(record.age_ns)
    least = "at least " if child.dead_since_boot_ns is None else ""
    if event is EventName.ZOMBIE_REAPED:
        return _sentence(f"{who} was reaped after {least}{age}; its parent was {parent}")
    still = " still" if event is EventName.ZOMBIE_AGED else ""
    why = _because(record.cause)
    return _sentence(f"{who} has{still} not been reaped for {least}{age} by {parent}{why}")


def event_message(event: Event) -> str:
    """Return the sentence about any event."""
    if event.record is not None:
        return zombie_message(event.record, event.name)
    if event.storm is not None:
        return _sentence(_storm(event.storm))
    return _sentence(_MESSAGES[event.name](event, _Facts(event.fields)))


class _Facts:
    """An event's fields by their dotted paths."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def __call__(self, path: str) -> object:
        """Return a field; None when it is unknown."""
        value: object = self._fields
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def text(self, path: str, unknown: str) -> str:
        value = self(path)
        return unknown if value is None or value == "" else str(value)

    def because(self, path: str) -> str:
        """Return a field behind a colon; nothing when it is unknown."""
        value = self(path)
        return "" if value is None or value == "" else f": {value}"


def _storm(context: StormContext) -> str:
    storm = context.storm
    who = _parent(context.parent, storm.parent.pid) + _place(context.attribution)
    age_ns = storm.oldest_age_ns
    oldest = "" if age_ns is None else f", the oldest {short_duration(age_ns)} old"
    now = f"{who} has {_count(storm.zombies)}{oldest}, {_rate(storm.rate_per_second)} new a second"
    match storm.phase:
        case StormPhase.BEGAN:
            return f"a zombie storm began: {now}; from now on they are counted and not listed"
        case StormPhase.ONGOING:
            return f"the zombie storm goes on: {now}"
        case StormPhase.ENDED:
            left = f"{_count(storm.zombies)} left of {storm.detected} counted"
            return f"the zombie storm has ended: {who} has {left}{oldest}"
        case StormPhase.DRAINED:
            adopted = f", {storm.adopted} adopted by another process" if storm.adopted else ""
            return (
                f"the zombie storm is over: of the {storm.detected} counted zombies of {who}"
                f" none is left, {storm.reaped} were reaped{adopted}"
            )


def _started(_: Event, facts: _Facts) -> str:
    return f"the agent started with source {facts('source.name')}{facts.because('source.reason')}"


def _stopped(event: Event, facts: _Facts) -> str:
    how = "stopped because of an error" if event.severity == "error" else "stopped"
    return f"the agent {how}{facts.because('source.reason')}"


def _source_changed(event: Event, facts: _Facts) -> str:
    name, previous = facts("source.name"), facts("source.previous")
    reason = facts.because("source.reason")
    if name == previous or previous is None:
        return f"source {facts.text('source.name', 'unknown')}{reason}"
    if name is None:
        return f"no source is in use, {previous} has failed{reason}"
    change = "returned to" if event.severity == "info" else "fell back to"
    return f"the agent {change} source {name} from {previous}{reason}"


def _kubernetes_changed(event: Event, facts: _Facts) -> str:
    if event.severity == "info":
        return "the API server can be reached again, pod names are up to date"
    since, fallback = facts("kubernetes.since"), facts("kubernetes.fallback")
    return (
        f"the API server cannot be reached{f' since {since}' if since else ''}"
        f"{facts.because('kubernetes.error')}{f'; {fallback}' if fallback else ''}"
    )


def _summary(_: Event, facts: _Facts) -> str:
    now = facts("zombies.now")
    counts = f"{_count(now)} now" if isinstance(now, int) else "the number of zombies is unknown"
    changes = [
        f"{number} {what}"
        for what in ("detected", "reaped")
        if (number := facts(f"zombies.{what}")) is not None
    ]
    since = f"; {' and '.join(changes)} since the last summary" if changes else ""
    lost = facts("lost")
    losses = lost.values() if isinstance(lost, Mapping) else ()
    total = sum(number for number in losses if isinstance(number, int))
    return counts + since + (f"; {total} events or lines lost so far" if total else "")


def _pids_pressure(_: Event, facts: _Facts) -> str:
    names = [facts("k8s.namespace.name"), facts("k8s.pod.name")]
    who = "/".join(str(name) for name in names if name) or facts.text("pids.cgroup", "the node")
    text = f"{who} uses {facts.text('pids.used', '?')} of {facts.text('pids.limit', '?')} pids"
    if facts("pids.zombies"):
        text += f", {facts('pids.zombies')} of them zombies"
    left = facts("pids.seconds_to_exhaustion")
    if isinstance(left, (int, float)):
        text += f"; at this rate none is left in {short_duration(int(left * NS))}"
    return text


_MESSAGES: Mapping[EventName, Callable[[Event, _Facts], str]] = {
    EventName.AGENT_STARTED: _started,
    EventName.AGENT_STOPPED: _stopped,
    EventName.SOURCE_CHANGED: _source_changed,
    EventName.KUBERNETES_CHANGED: _kubernetes_changed,
    EventName.SUMMARY: _summary,
    EventName.PIDS_PRESSURE: _pids_pressure,
}


def _process(comm: str | None, pid: int) -> str:
    return f"{comm or 'a process'} (pid {pid})"


def _place(attribution: Attribution) -> str:
    """Name the pod, container or systemd unit; nothing when it is unknown."""
    workload = attribution.workload
    place = owner_text(attribution) if workload is None else f"{workload.namespace}/{workload.pod}"
    return "" if place == "-" else f" in {place}"


def _parent(parent: Process | None, pid: int) -> str:
    if parent is not None:
        return _process(parent.comm, parent.identity.pid)
    return f"pid {pid}" if pid else "a parent outside the agent's pid namespace"


def _because(cause: Cause | None) -> str:
    return "" if cause is None else _BECAUSE[cause.code].format(_CONFIDENCE[cause.confidence])


def _count(number: int) -> str:
    return "1 zombie" if number == 1 else f"{number} zombies"


def _rate(per_second: float) -> str:
    return f"{per_second:.0f}" if per_second >= 10 else f"{per_second:.1f}"


def _sentence(text: str) -> str:
    """Escape what tenants wrote, and cut what is too long."""
    escaped = escape_untrusted(text)
    return escaped if len(escaped) <= MAX_CHARACTERS else escaped[: MAX_CHARACTERS - 1] + "…"
