"""What makes lines about the same cause recognisable: an ID, and which IDs are explained. Pure."""

from collections import OrderedDict
from hashlib import blake2b

from tracer.model import UNKNOWN_TICKS, CauseCode, Identity

_BYTES = 8
KNOWN = 8192
"""Causes that are remembered as explained: those of 20,000 listed zombies and more."""


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
    """The causes whose evidence and advice one log, or one client, already has.

    Each confidence counts as another explanation. Beyond KNOWN the one that was used least
    recently is forgotten, and explained again.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, cause: tuple[str, str]) -> bool:
        """Return whether (id, confidence) is explained."""
        if cause not in self._known:
            return False
        self._known.move_to_end(cause)
        return True

    def add(self, cause: tuple[str, str]) -> None:
        """Note that (id, confidence) is explained."""
        self._known[cause] = None
        self._known.move_to_end(cause)
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)
