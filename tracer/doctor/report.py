"""A report as text and as JSON, from the same fields."""

import json
from dataclasses import asdict

from tracer.doctor.check import Report, Status
from tracer.render.text import harmless

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
    """Return a line a check, with the remedy below those that have one."""
    width = max(len(check.name) for check in report.checks)
    lines = []
    for check in report.checks:
        lines.append(f"{_LABELS[check.status]:<8} {check.name:<{width}}  {harmless(check.result)}")
        if check.remedy and check.status is not Status.OK:
            lines.append(f"{'':8} {'':{width}}  → {harmless(check.remedy)}")
    name = report.source.name or "none"
    lines.append("")
    lines.append(f"--source auto takes: {name}")
    verdict = "FAILED: see above what to do" if report.failed else "the agent can see here"
    lines.append(verdict)
    return "\n".join(lines)
