"""Duration texts, as users write them (`10s`, `1h30m`) and as the live view shows them."""

import re
from itertools import pairwise

from tracer.clock import NS
from tracer.errors import UsageError
from tracer.numbers import shown

UNIT_NS = {
    "ms": NS // 1000,
    "s": NS,
    "m": 60 * NS,
    "h": 3600 * NS,
    "d": 86_400 * NS,
}
"""Length of each unit in nanoseconds."""

MAX_NS = 10_000 * UNIT_NS["d"]
"""The longest duration accepted: 27 years are a typing error."""

_PART = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|[smhd])", re.ASCII)
_HOW = "write a number with a unit (ms, s, m, h or d), largest first: 500ms, 10s, 5m, 1h30m, 1d"


def parse_duration(text: str, *, name: str = "duration") -> int:
    """Convert a duration such as `500ms`, `10s`, `5m`, `1h30m` or `1d` to nanoseconds.

    Units go from large to small and each comes once; a part may have a fraction
    (`1.5s`). A bare `0` needs no unit.

    Args:
        text: as the user wrote it; spaces around it are ignored.
        name: the option's name, for the error text.

    Raises:
        UsageError: it is not a duration; the text says why and how to write one.
    """
    stripped = text.strip()
    if stripped == "0":
        return 0
    parts = _parts(stripped)
    if parts is None:
        raise UsageError(f"{name}: {shown(text)} is not a duration{_why(stripped)}; {_HOW}")
    units = [UNIT_NS[unit] for _, unit in parts]
    if any(larger <= smaller for larger, smaller in pairwise(units)):
        raise UsageError(f"{name}: {shown(text)} repeats a unit or has a smaller one first; {_HOW}")
    total = sum(_scaled(number, UNIT_NS[unit]) for number, unit in parts)
    if total > MAX_NS:
        raise UsageError(f"{name}: {shown(text)} is more than 10000 days; give a shorter duration")
    return total


def _parts(text: str) -> list[tuple[str, str]] | None:
    """Split into (number, unit); None when there is anything else in the text."""
    parts = _PART.findall(text)
    return parts if parts and "".join(n + u for n, u in parts) == text else None


def _scaled(number: str, unit_ns: int) -> int:
    """Multiply a decimal text with a unit, without floating point."""
    whole, _, fraction = number.partition(".")
    fraction_ns = int(fraction) * unit_ns // 10 ** len(fraction) if fraction else 0
    return int(whole) * unit_ns + fraction_ns


def _why(text: str) -> str:
    """Name the mistake if it is a common one."""
    if not text:
        return " (it is empty)"
    if text.startswith("-"):
        return " (it is negative)"
    if re.fullmatch(r"[0-9.]+", text, re.ASCII):
        return " (the unit is missing)"
    return ""


def short_duration(duration_ns: int | None) -> str:
    """Show a duration in at most six columns: `0.2s`, `42s`, `3m07s`, `1h30m`, `26d04h`, `400d`.

    Truncates rather than rounds, so that an age shown has been reached. Unknown is `-`.
    """
    if duration_ns is None:
        return "-"
    seconds = max(0, duration_ns) // NS
    if seconds < 10:
        return f"{seconds}.{max(0, duration_ns) % NS * 10 // NS}s"
    if seconds < 60:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours:02d}h" if days < 100 else f"{days}d"


def exact_duration(duration_ns: int) -> str:
    """Write a duration so that parse_duration reads it back: `1h30m`, `500ms`, `0s`.

    What is below a millisecond is cut off.
    """
    rest, parts = duration_ns, []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, UNIT_NS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
