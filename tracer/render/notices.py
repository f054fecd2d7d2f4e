"""What the agent says of itself in the live view: start, stop, summary, source, pressure."""

from collections.abc import Iterator, Mapping

from tracer.model.event import Event, EventName


def told(event: Event) -> str:
    """Say what an event without a zombie brings, in one line; figures that are 0 are left out."""
    flat = dict(_flat(event.fields))
    source, reason = flat.pop("source.name", None), flat.pop("source.reason", None)
    said = [f"source {source}" + (f" ({reason})" if reason else "")] if source else []
    if event.name is EventName.AGENT_STARTED:
        return ", ".join([*said, "Ctrl-C ends"])
    if event.name is EventName.SUMMARY:
        said = []
    owner = flat.pop("k8s.pod.name", None)
    if owner:
        said.append(f"{flat.pop('k8s.namespace.name', '-')}/{owner}")
    shown = (
        f"{path.removeprefix('pids.').removeprefix('zombies.').replace('_', ' ')} {value}"
        for path, value in flat.items()
        if not path.startswith("k8s.") and (value != 0 or path.startswith("zombies."))
    )
    return ", ".join([*said, *shown])


def _flat(fields: Mapping[str, object], path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the known facts with their dotted paths; lists are for the JSON."""
    for name, value in fields.items():
        below = f"{path}.{name}" if path else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, below)
        elif value is not None and not isinstance(value, (list, tuple)):
            yield below, f"{value:g}" if isinstance(value, float) else value
