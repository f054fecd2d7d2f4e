"""A report as text and as JSON, from the same fields."""

import json
import textwrap
from dataclasses import asdict

from tracer.doctor.check import Report, Status
from tracer.render.text import escape_untrusted

_COLUMNS = 100
_LABELS = {
    Status.OK: "ok",
    Status.WARNING: "WARNING",
    Status.FAILED: "FAILED",
    Status.SKIPPED: "-",
}


def as_json(report: Report) -> str:
    """Return one JSON object: `checks` and `source`."""
    return json.dumps(asdict(report), indent=2)


def as_text(report: Report) -> str:
    """Return each check with its remedy, in lines that a terminal need not break."""
    width = max(len(check.name) for check in report.checks)
    lines: list[str] = []
    for check in report.checks:
        lines += _lines(f"{_LABELS[check.status]:<8} {check.name:<{width}}  ", check.result)
        if check.remedy and check.status is not Status.OK:
            lines += _lines(f"{'':8} {'':{width}}  → ", check.remedy)
    result = "FAILED: see above what to do" if report.failed else "the agent can see here"
    lines += ["", f"--source auto takes: {report.source.name or 'none'}", result]
    return "\n".join(lines)


def _lines(head: str, text: str) -> list[str]:
    """Break a text behind a head; the head's width is kept free below it."""
    return textwrap.wrap(
        escape_untrusted(text),
        _COLUMNS,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    )
