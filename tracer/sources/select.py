"""Which source to use: the one asked for, or the first of the order that starts."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tracer.errors import PermanentError, TemporaryError, classified
from tracer.model import Source

ORDER = ("core", "bcc", "proc")
"""From the one that sees most to the one that works everywhere."""

NEEDS_ROOT = (
    "needs root: sudo tracer …; without root, or CAP_BPF and CAP_PERFMON, only /proc can be read:"
    " no exit times, no forking processes, few causes"
)
_CAP_BPF, _CAP_SYS_ADMIN = 39, 21  # include/uapi/linux/capability.h

Makers = Mapping[str, Callable[[], Source]]
"""How to construct each source, by name. A missing name is a source that is not to be tried."""

Failures = Mapping[str, PermanentError | TemporaryError]
"""Why sources did not start, by name, in the order in which they were tried."""


class Opened(NamedTuple):
    """A started source, and why the ones before it in the order did not start."""

    source: Source
    failures: Failures

    @property
    def reason(self) -> str:
        """Why it is this source, for `source.reason`."""
        reasons = dict.fromkeys(map(str, self.failures.values()))  # one of them for both: root
        return "; ".join([*reasons, f"{self.source.name} works"])


def open_source(name: str, *, make: Makers) -> tuple[Source, str]:
    """Construct and start a source.

    Args:
        name: core, bcc, proc, or auto for the first that works.
        make: how to construct each.

    Returns:
        the started source, and why it is this one, for `source.reason`.

    Raises:
        PermanentError: the named one cannot work, or with auto none can; says why.
        TemporaryError: as above, but another attempt may succeed.
        KeyError: there is no such source.
    """
    if name != "auto":
        return start(name, make), "asked for by name"
    opened = open_first(ORDER, make=make)
    return opened.source, opened.reason


def open_first(names: Iterable[str], *, make: Makers, before: str | None = None) -> Opened:
    """Construct and start the first source that works.

    Args:
        names: which to try, in this order.
        make: how to construct each.
        before: what happened before, for the text of the error.

    Raises:
        PermanentError: none can work; says why for each.
        TemporaryError: none works now, but at least one may work later.
    """
    failures: dict[str, PermanentError | TemporaryError] = {}
    for name in names:
        if name not in make:
            continue
        try:
            return Opened(start(name, make), failures)
        except (PermanentError, TemporaryError) as error:
            failures[name] = error
    reasons = [] if before is None else [before]
    text = "no source works here: " + "; ".join([*reasons, *map(str, failures.values())])
    if any(isinstance(error, TemporaryError) for error in failures.values()):
        raise TemporaryError(text)
    raise PermanentError(text)


def lacks_rights() -> bool:
    """Return whether this process may not load BPF programs: not as root, without CAP_BPF."""
    if not os.geteuid():
        return False
    status = Path("/proc/self/status").read_text("ascii", "replace")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(found[1], 16) if found else 0
    return not held & (1 << _CAP_BPF | 1 << _CAP_SYS_ADMIN)


def start(name: str, make: Makers) -> Source:
    """Construct and start one source; when that fails nothing stays attached.

    Raises:
        PermanentError: it cannot work; the text begins with its name.
        TemporaryError: it may start later; the text begins with its name.
    """
    source = None
    try:
        source = make[name]()
        source.start()
    except Exception as error:
        if source is not None:
            source.close()
        match classified(error):
            case TemporaryError() as known:
                raise TemporaryError(f"{name} cannot start at the moment: {known}") from error
            case PermanentError() if name != "proc" and lacks_rights():
                raise PermanentError(NEEDS_ROOT) from error
            case PermanentError() as known:
                raise PermanentError(f"{name} cannot work here: {known}") from error
            case _:
                raise
    return source
