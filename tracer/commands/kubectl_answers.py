"""What kubectl and the agents print, read with care: both may print something else."""

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from tracer.errors import PermanentError
from tracer.render.text import escape_untrusted

_SHOWN_CHARACTERS = 80
_FOR_LOGS = re.compile(r"tracer: (DEBUG|INFO): |\s*$")
"""Lines of a command's stderr that do not concern its user."""

_KUBECTL_LOG = re.compile(r"[IWEF]\d{4} \d\d:")


class Agent(NamedTuple):
    """One agent's pod, by its node and its name."""

    node: str
    pod: str


def agents_of(text: str) -> list[Agent]:
    """Return the running agents in the output of `kubectl get pods -o json`, by node.

    Raises:
        PermanentError: it is something else.
    """
    try:
        return sorted(
            Agent(str(pod["spec"].get("nodeName", "")), str(pod["metadata"]["name"]))
            for pod in json.loads(text)["items"]
            if pod.get("status", {}).get("phase") == "Running"
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise PermanentError(
            f"kubectl get pods printed {_beginning(text)} instead of a list of pods; check with"
            " `kubectl version` which program and which server answer"
        ) from None


def rows_of(text: str) -> list[object] | None:
    """Return the rows that `tracer scan -o json` printed; None when it printed something else."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, list) else None


def no_rows(output: str, errors: Sequence[str]) -> list[str]:
    """Return what to say about a node that sent no rows: its own reason, if it gave one."""
    unexpected = (
        f"the agent printed {_beginning(output)} instead of a JSON array;"
        " check its version with `kubectl zombies --node NODE --version`"
    )
    return list(errors) or [unexpected]


def user_lines(text: str) -> list[str]:
    """Return the lines of a command's stderr that its user needs, escaped."""
    return [escape_untrusted(line) for line in text.split("\n") if not _FOR_LOGS.match(line)]


def one_line(text: str) -> str:
    """Return what kubectl wrote to stderr as one line."""
    lines = user_lines(text)
    # Without a server there are five lines of its log for one that a person can read.
    return "; ".join([line for line in lines if not _KUBECTL_LOG.match(line)] or lines) or (
        "it gave no reason"
    )


def _beginning(text: str) -> str:
    if not text.strip():
        return "nothing"
    shown = escape_untrusted(text.strip()[:_SHOWN_CHARACTERS])
    return f"'{shown}…'" if len(text.strip()) > _SHOWN_CHARACTERS else f"'{shown}'"
