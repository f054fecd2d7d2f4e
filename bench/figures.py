"""A measurement: the figure, the alternative's, and the target."""

import statistics
from typing import NamedTuple

MISSING = "not installed here"


class Figure(NamedTuple):
    """One line of the report.

    Attributes:
        what: is measured.
        value: our figure, with its unit, as text.
        beside: what a user would run instead and its figure; empty when there is nothing.
        target: what DESIGN asks for; empty when it asks for nothing.
        reached: None when there is no target, or nothing to compare with.
    """

    what: str
    value: str
    beside: str = ""
    target: str = ""
    reached: bool | None = None


def within(what, number, unit, limit, beside="", digits=2):
    """Make a figure that is to be at most `limit`."""
    return Figure(
        what,
        f"{number:.{digits}f} {unit}",
        beside,
        f"≤ {limit:g} {unit}",
        number <= limit,
    )


def at_least(what, number, unit, limit, beside="", digits=2):
    """Make a figure that is to be at least `limit`."""
    return Figure(
        what,
        f"{number:.{digits}f} {unit}",
        beside,
        f"≥ {limit:g} {unit}",
        number >= limit,
    )


def median(numbers):
    return statistics.median(numbers)


def spread(numbers):
    """Format the range, which shows the machine's noise."""
    return f"{min(numbers):.3g}…{max(numbers):.3g}"


def percentile(numbers, percent):
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def table(figures):
    heads = ("", "measured", "beside it", "target", "")
    rows = [
        (f.what, f.value, f.beside, f.target, {None: "", True: "✔", False: "✘"}[f.reached])
        for f in figures
    ]
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *rows]
    )
