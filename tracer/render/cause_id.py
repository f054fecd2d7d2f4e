"""What makes lines about one cause recognisable: an ID; and what need not be repeated. Pure."""

from collections import OrderedDict
from hashlib import blake2b

from tracer.model import UNKNOWN_TICKS, CauseCode, Identity

_BYTES = 8
KNOWN = 8_192
"""Explanations that are remembered."""

Explanation = tuple[str, str]
"""A cause ID and the confidence: another confidence has other evidence."""


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


class ExplainedCauses:
    """What one log, or one client, already has about causes, and need not get again.

    Beyond KNOWN the one that was used least recently is forgotten, and given again.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Explanation, None] = OrderedDict()

    def __contains__(self, explanation: Explanation) -> bool:
        """Return whether the reader has it."""
        if explanation not in self._known:
            return False
        self._known.move_to_end(explanation)
        return True

    def add(self, explanation: Explanation) -> None:
        """Note that the reader has it."""
        self._known[explanation] = None
        self._known.move_to_end(explanation)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
