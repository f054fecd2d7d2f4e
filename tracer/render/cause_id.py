"""What makes lines about one cause recognisable: an ID; and what need not be repeated. Pure."""

from collections import OrderedDict
from hashlib import blake2b

from tracer.model import UNKNOWN_TICKS, CauseCode, Identity

_BYTES = 8
KNOWN = 16_384
"""Facts that are remembered: two for each of 8,192 causes."""

Fact = tuple[str, str]
"""A cause ID, and what is known about that cause."""


def cause_id_of(boot_id: str, parent: Identity, code: CauseCode) -> str | None:
    """Return the ID of a parent's cause: the same in every line, also after a restart.

    Args:
        boot_id: of this boot of the node; pids and start times are good for one.
        parent: whose zombies they are.
        code: why.

    Returns:
        16 hexadecimal digits; None when it is unknown who the parent is.
    """
    if parent.start_ticks == UNKNOWN_TICKS:
        return None
    text = f"{boot_id} {parent.pid} {parent.start_ticks} {code.value}"
    return blake2b(text.encode(), digest_size=_BYTES).hexdigest()


def repeated_facts(cause_id: str, cgroup: str | None, command_line: str | None) -> Fact:
    """Return the key of what most lines about one cause have in common besides its explanation."""
    text = f"{cgroup}\0{command_line}"
    return cause_id, blake2b(text.encode(errors="replace"), digest_size=_BYTES).hexdigest()


class ExplainedCauses:
    """What one log, or one client, already has about causes, and need not get again.

    A fact is (cause ID, confidence) for the evidence and advice, where each confidence counts
    as another explanation, or what repeated_facts() returns. Beyond KNOWN the one that was used
    least recently is forgotten, and given again.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Fact, None] = OrderedDict()

    def __contains__(self, fact: Fact) -> bool:
        """Return whether the reader has it."""
        if fact not in self._known:
            return False
        self._known.move_to_end(fact)
        return True

    def add(self, fact: Fact) -> None:
        """Note that the reader has it."""
        self._known[fact] = None
        self._known.move_to_end(fact)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
