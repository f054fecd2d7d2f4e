"""What a check has found."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    """The agent works, but sees or says less than it could."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not looked at, for it makes no difference here."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        name: stable, for scripts.
        status: how it went.
        result: what was found, one line.
        remedy: what to do; None when there is nothing to do.
        matters: whether doctor fails when this check does.
    """

    name: str
    status: Status
    result: str
    remedy: str | None = None
    matters: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The source that --source auto takes here; None when none works."""

    name: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, and the source that follows from them."""

    checks: tuple[Check, ...]
    source: Choice

    @property
    def failed(self) -> bool:
        """Whether a check that matters failed."""
        return any(check.matters and check.status is Status.FAILED for check in self.checks)
