"""A name for each event, the same when an event is reported again after a crash. Pure."""

from collections.abc import Iterator
from hashlib import blake2b

from tracer.model.event import Event

_BYTES = 16


def event_id(event: Event, *, boot_id: str | None, node_name: str) -> str:
    """Return the id of an event, 32 hexadecimal digits.

    An event of a zombie is named by what happened to which process on which node: whoever
    reports it, and whenever, gives it the same id. Any other event is named by its time.

    Args:
        event: what happened.
        boot_id: of this boot of the node: process ids begin anew with each.
        node_name: the node.
    """
    parts = (boot_id or "", node_name, event.name.value, *_subject(event))
    text = "\0".join(map(str, parts))
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).hexdigest()


def _subject(event: Event) -> Iterator[object]:
    if event.record is not None:
        yield from event.record.zombie.child.identity
        yield event.step_ns
        return
    if event.storm is not None:
        yield from event.storm.storm.parent
    yield event.at_boot_ns
