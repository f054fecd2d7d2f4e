"""Choosing a source, at the start and when one fails in flight."""

from collections.abc import Callable, Mapping

from tracer.errors import PermanentError, TracerError
from tracer.model import Source

ORDER = ("core", "bcc", "proc")
"""From the one that sees most to the one that works everywhere."""

Makers = Mapping[str, Callable[[], Source]]
"""How to construct each source, by name. A missing name is a source that is not to be tried."""


def open_source(name: str, *, make: Makers) -> tuple[Source, str]:
    """Construct and start a source.

    Args:
        name: core, bcc, proc, or auto for the first that works.
        make: how to construct each.

    Returns:
        the started source, and why it is this one, for `source.reason`.

    Raises:
        PermanentError: the named one cannot work, or with auto none can; says why.
        KeyError: there is no such source.
    """
    if name != "auto":
        return _start(name, make), "asked for by name"
    return _first_of(ORDER, make, [])


def next_after(failed: str, why: TracerError, *, make: Makers) -> tuple[Source, str]:
    """Construct and start the source to go on with when one failed in flight.

    Only for auto: a source that was asked for by name is never replaced silently. The caller
    closes the failed source first, takes a snapshot from the new one right away and reconciles
    the table with it, so that nothing is lost and, by identity, nothing is told twice.

    Args:
        failed: the name of the source that raised.
        why: what it raised.
        make: how to construct each.

    Returns:
        the started source, and why it is this one.

    Raises:
        PermanentError: no further source can work; says why for each.
    """
    return _first_of(ORDER[ORDER.index(failed) + 1 :], make, [f"{failed} failed: {why}"])


def _first_of(names: tuple[str, ...], make: Makers, failures: list[str]) -> tuple[Source, str]:
    """Start the first that works; failures says what was tried before."""
    for name in names:
        if name not in make:
            continue
        try:
            source = _start(name, make)
        except TracerError as error:
            failures.append(str(error))
        else:
            return source, "; ".join([*failures, f"{name} works"])
    raise PermanentError("no source can see zombies here: " + "; ".join(failures))


def _start(name: str, make: Makers) -> Source:
    """Construct and start one; an error begins with its name and leaves nothing attached."""
    source = None
    try:
        source = make[name]()
        source.start()
    except TracerError as error:
        if source is not None:
            source.close()
        raise PermanentError(f"{name} cannot work here: {error}") from error
    return source
