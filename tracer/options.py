"""The values of options: from the command line, else from TRACER_<NAME>, else a default."""

import argparse
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracer.attribution.filters import Filters
from tracer.attribution.selector import parse_selector
from tracer.durations import parse_duration
from tracer.errors import UsageError
from tracer.numbers import shown, whole_number
from tracer.protocol import STATE_DIR

SOURCES = ("auto", "core", "bcc", "proc")
LEVELS = ("debug", "info", "warning", "error")
MAP_ENTRIES = 65_536
LOG_BURST = 1000
LOG_RATE = 20
MOST_LINES = 1_000_000
"""For --log-burst and --log-rate: as good as no limit."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a command, with defaults for what it does not declare.

    Attributes:
        source: auto, core, bcc or proc.
        min_age_ns: a child counts once it has been dead and unreaped this long.
        filters: which zombies to report.
        kubeconfig: of --kubeconfig; None when not given.
        kubernetes: whether to look for an API server at all.
        state_dir: where the agent keeps its state; None for nowhere.
        node_name: of this node.
        metrics_address: HOST:PORT, None for off.
        command_lines: whether records carry the parent's command line.
        proc_root: where proc is mounted.
        kubelet_cgroup_root: below which cgroup pods are looked for; None to detect it.
        pod_uid: of the pod that this process runs in, from $POD_UID.
        log_level: of the agent's own log lines and messages.
        map_entries: processes that the core source can follow at once.
        log_burst: lines of the log that each pod may fill at once.
        log_rate: lines a second that it may fill after that.
    """

    source: str
    min_age_ns: int
    filters: Filters
    kubeconfig: str | None
    kubernetes: bool
    state_dir: Path | None
    node_name: str
    metrics_address: str | None
    command_lines: bool
    proc_root: Path
    kubelet_cgroup_root: str | None
    pod_uid: str | None
    log_level: str
    map_entries: int
    log_burst: int
    log_rate: int


class _Reader:
    """Looks an option up: the parsed arguments first, then the environment.

    An option that the command does not declare keeps its default: a variable that is meant
    for the agent in the same container must not change or fail a command without that option.
    """

    def __init__(self, args: argparse.Namespace, environment: Mapping[str, str]) -> None:
        self._args = args
        self._environment = environment

    def called(self, name: str) -> str:
        """Return how the user wrote it: the option, or its variable."""
        given = getattr(self._args, name, None)
        return (
            _option(name)
            if given is not None or not self._from_environment(name)
            else _variable(name)
        )

    def _from_environment(self, name: str) -> str | None:
        """Return the value of its variable; None when unset, empty or not of this command."""
        if not hasattr(self._args, name):
            return None
        return self._environment.get(_variable(name)) or None

    def text(self, name: str) -> str | None:
        given = getattr(self._args, name, None)
        return self._from_environment(name) if given is None else given

    def texts(self, name: str) -> Sequence[str]:
        given: Sequence[str] | None = getattr(self._args, name, None)
        if given is None:
            given = [part for part in (self.text(name) or "").split(",") if part]
        return given

    def flag(self, name: str) -> bool:
        given: bool | None = getattr(self._args, name, None)
        if given is not None:
            return given
        value = (self._from_environment(name) or "").lower()
        if value in ("", "0", "false", "no", "off"):
            return False
        if value in ("1", "true", "yes", "on"):
            return True
        raise UsageError(f"{_variable(name)}={value!r} is neither true nor false")

    def one_of(self, name: str, choices: Sequence[str], default: str) -> str:
        value = self.text(name)
        if value is None:
            return default
        if value not in choices:
            raise UsageError(f"{self.called(name)} {value!r} is not one of {', '.join(choices)}")
        return value

    def duration_ns(self, name: str, default: str) -> int:
        value = self.text(name)
        return parse_duration(default if value is None else value, name=self.called(name))

    def number(self, name: str, default: int, low: int, high: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        number = whole_number(value, low, high)
        if number is None:
            raise UsageError(
                f"{self.called(name)} {shown(value)} is not a number from {low} to {high}"
            )
        return number


def _variable(name: str) -> str:
    return f"TRACER_{name.upper()}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def read(
    args: argparse.Namespace,
    *,
    min_age: str,
    environment: Mapping[str, str] = os.environ,
    host_name: Callable[[], str] = socket.gethostname,
) -> Options:
    """Return the options that a command was given.

    Args:
        args: from a parser with the arguments of commands/arguments.py, or some of them.
        min_age: default of --min-age.
        environment: with TRACER_<NAME>, NODE_NAME and POD_UID.
        host_name: the node's name when nothing else gives it.

    Raises:
        UsageError: a value cannot be used; the text has the value and what is allowed.
    """
    reader = _Reader(args, environment)
    state_dir = reader.text("state_dir") or STATE_DIR
    selector = [
        requirement
        for text in ([*(getattr(args, "selector", None) or ())] or _whole(reader, "selector"))
        for requirement in parse_selector(text)
    ]
    return Options(
        source=reader.one_of("source", SOURCES, "auto"),
        min_age_ns=reader.duration_ns("min_age", min_age),
        filters=Filters(
            namespaces=frozenset(reader.texts("namespace")),
            pods=frozenset(reader.texts("pod")),
            containers=frozenset(reader.texts("container")),
            selector=tuple(selector),
            pods_only=reader.flag("pods_only"),
        ),
        kubeconfig=reader.text("kubeconfig"),
        kubernetes=not reader.flag("no_kubernetes"),
        state_dir=None if state_dir == "none" else Path(state_dir),
        node_name=reader.text("node_name") or environment.get("NODE_NAME") or host_name(),
        metrics_address=reader.text("metrics_address"),
        command_lines=reader.flag("command_lines"),
        proc_root=Path(reader.text("proc_root") or "/proc"),
        kubelet_cgroup_root=reader.text("kubelet_cgroup_root"),
        pod_uid=environment.get("POD_UID") or None,
        log_level=reader.one_of("log_level", LEVELS, "info"),
        map_entries=reader.number("map_entries", MAP_ENTRIES, 16, 1 << 22),
        log_burst=reader.number("log_burst", LOG_BURST, 1, MOST_LINES),
        log_rate=reader.number("log_rate", LOG_RATE, 1, MOST_LINES),
    )


def _whole(reader: _Reader, name: str) -> list[str]:
    """Return a variable as one value: the commas in it belong to the selector."""
    text = reader.text(name)
    return [text] if text else []
