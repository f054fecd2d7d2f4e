"""The options that several commands share: how they are written and what the help says."""

import argparse
from collections.abc import Collection, Mapping
from typing import NamedTuple

from tracer.options import LEVELS, LOG_BURST, LOG_RATE, MAP_ENTRIES, SOURCES
from tracer.protocol import STATE_DIR


class _Option(NamedTuple):
    """An option that several commands have, under the same name and with the same meaning.

    Attributes:
        heading: the part of the help that lists it.
        flags: how it is written; the last one gives the variable its name.
        metavar: of its value; None for a flag.
        help: one line; {min_age} stands for the command's own default.
        repeatable: may be given several times.
    """

    heading: str
    flags: tuple[str, ...]
    metavar: str | None
    help: str
    repeatable: bool = False


_WHICH = "which zombies"
_WHERE = "where to look"
_KUBERNETES = "Kubernetes"
_MESSAGES = "output and messages"

_DECLARED: Mapping[str, _Option] = {
    "min_age": _Option(
        _WHICH,
        ("--min-age",),
        "DURATION",
        "report children left unreaped for at least DURATION (default {min_age})",
    ),
    "namespace": _Option(
        _WHICH,
        ("-n", "--namespace"),
        "NAME",
        "only zombies in pods of this namespace (repeatable)",
        repeatable=True,
    ),
    "pod": _Option(
        _WHICH,
        ("--pod",),
        "NAME",
        "only zombies in pods of this name (repeatable)",
        repeatable=True,
    ),
    "container": _Option(
        _WHICH,
        ("--container",),
        "NAME",
        "only zombies in containers of this name (repeatable)",
        repeatable=True,
    ),
    "selector": _Option(
        _WHICH,
        ("-l", "--selector"),
        "LABELS",
        "only zombies in pods with these labels, as kubectl -l (repeatable)",
        repeatable=True,
    ),
    "pods_only": _Option(_WHICH, ("--pods-only",), None, "only zombies in pods"),
    "source": _Option(_WHERE, ("--source",), "SOURCE", f"{', '.join(SOURCES)} (default auto)"),
    "proc_root": _Option(
        _WHERE, ("--proc-root",), "PATH", "where the host's proc is mounted (default /proc)"
    ),
    "state_dir": _Option(
        _WHERE,
        ("--state-dir",),
        "PATH",
        f"where the agent keeps its state; 'none' turns that off (default {STATE_DIR})",
    ),
    "map_entries": _Option(
        _WHERE,
        ("--map-entries",),
        "N",
        f"processes that the core source can follow at once (default {MAP_ENTRIES})",
    ),
    "kubeconfig": _Option(
        _KUBERNETES, ("--kubeconfig",), "PATH", "the kubeconfig file for the API server"
    ),
    "no_kubernetes": _Option(
        _KUBERNETES, ("--no-kubernetes",), None, "do not contact the API server"
    ),
    "kubelet_cgroup_root": _Option(
        _KUBERNETES,
        ("--kubelet-cgroup-root",),
        "PATH",
        "look for pods only below this cgroup (default: detected)",
    ),
    "node_name": _Option(
        _KUBERNETES,
        ("--node-name",),
        "NAME",
        "the name of this node (default $NODE_NAME, else the host name)",
    ),
    "command_lines": _Option(
        _MESSAGES,
        ("--command-lines",),
        None,
        "include the parent's command line (may contain secrets)",
    ),
    "log_level": _Option(
        _MESSAGES, ("--log-level",), "LEVEL", f"{', '.join(LEVELS)} (default info)"
    ),
    "log_burst": _Option(
        _MESSAGES,
        ("--log-burst",),
        "LINES",
        f"lines of the log that each pod may fill at once (default {LOG_BURST})",
    ),
    "log_rate": _Option(
        _MESSAGES,
        ("--log-rate",),
        "LINES",
        f"lines a second that each pod may fill after that (default {LOG_RATE})",
    ),
    "metrics_address": _Option(
        _MESSAGES, ("--metrics-address",), "HOST:PORT", "serve /metrics, /healthz and /readyz here"
    ),
}

FILTERS = ("namespace", "pod", "container", "selector", "pods_only")
KUBERNETES = ("kubeconfig", "no_kubernetes", "kubelet_cgroup_root", "node_name")
ALL = tuple(_DECLARED)

_IN_ENVIRONMENT = """
Every option that is not listed under "options" can also be set in the environment, such as
{example}. The command line wins.
"""


def add_arguments(
    parser: argparse.ArgumentParser, names: Collection[str] = ALL, *, min_age: str = ""
) -> None:
    """Declare options on a parser, and say in its help which of them can be variables.

    Args:
        parser: of the command.
        names: the options that the command uses; it must offer no others.
        min_age: the default of --min-age.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, option in _DECLARED.items():
        if name not in names:
            continue
        if option.heading not in groups:
            groups[option.heading] = parser.add_argument_group(option.heading)
        add, text = groups[option.heading].add_argument, option.help.format(min_age=min_age)
        if option.metavar is None:
            add(*option.flags, dest=name, action="store_true", default=None, help=text)
        else:
            action = "append" if option.repeatable else "store"
            add(*option.flags, dest=name, action=action, metavar=option.metavar, help=text)
    # For `kubectl zombies`: nobody types it.
    parser.add_argument("--exit-with-stdin", action="store_true", help=argparse.SUPPRESS)
    example = "TRACER_NODE_NAME=worker-1 for --node-name worker-1"
    if "min_age" in names:
        example = "TRACER_MIN_AGE=30s for --min-age 30s"
    parser.epilog = (parser.epilog or "") + _IN_ENVIRONMENT.format(example=example)
