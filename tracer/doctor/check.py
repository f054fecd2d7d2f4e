"""The result of a check, and of all of them."""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    """The agent works, but with less information than it could have."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not checked, or without any effect here."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: stable, for scripts.
        status: its outcome.
        result: what was found, in one line.
        remedy: what to do; None when nothing has to be done.
        matters: whether this check is required: doctor fails when it fails.
    """

    name: str
    status: Status
    result: str
    remedy: str | None = None
    matters: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The source that --source auto would use here; None when none works."""

    name: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, and the source that follows from them."""

    checks: tuple[Check, ...]
    source: Choice

    @property
    def failed(self) -> bool:
        """Whether a required check failed."""
        return any(check.matters and check.status is Status.FAILED for check in self.checks)
