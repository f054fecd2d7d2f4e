"""When a failure that lasts is reported, and its end. Pure."""

from tracer.clock import NS

APART_NS = 60 * NS


class Outage:
    """One thing that fails and works again. Failures that follow each other fill no log.

    Args:
        grace_ns: a failure that is over sooner is not reported.
        apart_ns: between the reports of two failures passes at least this.
    """

    def __init__(self, *, grace_ns: int = 0, apart_ns: int = APART_NS) -> None:
        self._grace_ns = grace_ns
        self._apart_ns = apart_ns
        self._reported = False
        self._next_report_boot_ns = 0
        self.since_boot_ns: int | None = None
        """Since when it fails; None while it works."""

    def fails(self, now_boot_ns: int) -> bool:
        """Note that it fails; return whether that is to be reported now."""
        if self.since_boot_ns is None:
            self.since_boot_ns = now_boot_ns
        due = max(self._next_report_boot_ns, self.since_boot_ns + self._grace_ns)
        if self._reported or now_boot_ns < due:
            return False
        self._reported = True
        self._next_report_boot_ns = now_boot_ns + self._apart_ns
        return True

    def works(self) -> int | None:
        """Note that it works; return since when it failed, if its end is to be reported."""
        since, reported = self.since_boot_ns, self._reported
        self.since_boot_ns, self._reported = None, False
        return since if reported else None
