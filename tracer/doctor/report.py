"""A report as text and as JSON, from the same fields."""

import textwrap
from dataclasses import asdict

from tracer.doctor.check import Report, Status
from tracer.render.json_text import json_text
from tracer.render.text import escape_untrusted

_COLUMNS = 100
_PASSED = "all required checks passed"
_LABELS = {
    Status.OK: "ok",
    Status.WARNING: "WARNING",
    Status.FAILED: "FAILED",
    Status.SKIPPED: "-",
}


def as_json(report: Report) -> str:
    """Return one JSON object: `checks` and `source`."""
    return json_text(asdict(report))


def as_text(report: Report) -> str:
    """Return each check with its remedy, in lines of at most 100 columns."""
    width = max(len(check.name) for check in report.checks)
    lines: list[str] = []
    for check in report.checks:
        lines += _lines(f"{_LABELS[check.status]:<8} {check.name:<{width}}  ", check.result)
        if check.remedy and check.status is not Status.OK:
            lines += _lines(f"{'':8} {'':{width}}  → ", check.remedy)
    result = "a required check FAILED: see the remedies above" if report.failed else _PASSED
    lines += ["", f"--source auto would use: {report.source.name or 'none'}", result]
    return "\n".join(lines)


def _lines(head: str, text: str) -> list[str]:
    """Wrap a text after a head, indented by the head's width."""
    return textwrap.wrap(
        escape_untrusted(text),
        _COLUMNS,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
    )
