"""Where a command writes: its own stdout and stderr, or those of an agent's client."""

import sys
from typing import Protocol

from tracer.sinks.live import terminal_columns


class Output(Protocol):
    """The stdout and stderr of whoever ran the command. A text ends with its newline."""

    @property
    def columns(self) -> int | None:
        """The width of the terminal; None for anything else."""

    def out(self, text: str) -> None:
        """Write to stdout."""

    def err(self, text: str) -> None:
        """Write to stderr."""


class OwnOutput:
    """The stdout and stderr of this process."""

    @property
    def columns(self) -> int | None:
        """The width of the terminal; None for anything else."""
        return terminal_columns(sys.stdout.fileno())

    def out(self, text: str) -> None:
        """Write to stdout."""
        sys.stdout.write(text)

    def err(self, text: str) -> None:
        """Write to stderr."""
        sys.stderr.write(text)
        sys.stderr.flush()
