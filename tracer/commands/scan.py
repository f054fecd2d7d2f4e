"""`tracer scan`: one snapshot now, then exit."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tracer import options
from tracer.agent import build
from tracer.clock import boot_ns, boot_to_wall_ns
from tracer.errors import UsageError
from tracer.model import Child, Identity, Record, Snapshot, Source, Zombie
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.zombie import read_zombie
from tracer.render.groups import Group, group_by_parent, group_by_pod
from tracer.render.table import BY_PARENT, BY_POD, BY_ZOMBIE, render_table
from tracer.sinks.live import terminal_columns
from tracer.sources.core.source import CoreSource
from tracer.sources.select import open_source
from tracer.state.store import StateStore

MIN_AGE = "0s"
ZOMBIES_FOUND_STATUS = 1
_NAMES_WAIT_SECONDS = 3.0
"""For the API server to name the pods that were found."""

_CHOICES = {"output": ("table", "wide", "json"), "by": ("parent", "zombie", "pod")}

_EXAMPLES = """\
examples:
  tracer scan                        who leaves zombies, the worst first
  tracer scan --by zombie -o wide    each of them, with all columns
  tracer scan --by pod --pods-only   which pods have them
  tracer scan -o json | jq '.[].cause.advice'
  tracer scan --min-age 1m --exit-code || echo "zombies older than a minute"

A cause with a ? is only possible: `tracer explain PID` watches, and says more.
"""


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "scan",
        help="one snapshot now",
        description="Show the zombies that are there now, and exit.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("-o", "--output", default="table", help="table (default), wide or json")
    parser.add_argument("--by", default="parent", help="parent (default), zombie or pod")
    parser.add_argument("--exit-code", action="store_true", help="exit with 1 if there are any")
    options.add_arguments(parser, min_age=MIN_AGE, agent=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take a snapshot and print it."""
    for name, choices in _CHOICES.items():
        if getattr(args, name) not in choices:
            raise UsageError(f"--{name} {getattr(args, name)!r}: it is one of {', '.join(choices)}")
    chosen = options.read(args, min_age=MIN_AGE)
    build.start_logging(chosen)
    proc = build.open_proc(chosen)
    source, reason = open_source(chosen.source, make=_makers(chosen, proc))
    try:
        if source.name != "core" and chosen.source == "auto":
            print(f"tracer: {reason}", file=sys.stderr)
        one_by_one = args.output == "json" or args.by == "zombie"
        found = _Scan(chosen, proc, source).take(one_by_one=one_by_one)
    finally:
        source.close()
    if args.output == "json":
        _print_json(found, chosen)
    else:
        _print_table(found, args.by, wide=args.output == "wide")
    return ZOMBIES_FOUND_STATUS if args.exit_code and found else 0


def _makers(chosen: Options, proc: ProcFs) -> dict[str, Any]:
    makers = dict(build.source_makers(replace(chosen, min_age_ns=0), proc))
    # The iterator alone: nothing is hooked for one look.
    makers["core"] = lambda: CoreSource(min_age_ns=0, map_entries=16, hooks=False)
    return makers


@dataclass(slots=True)
class _Found:
    """Zombies of one parent: the oldest of them, and how many."""

    child: Child
    since_boot_ns: int
    zombies: int = 1


class _Scan:
    """One look at the machine."""

    def __init__(self, chosen: Options, proc: ProcFs, source: Source) -> None:
        self._chosen = chosen
        self._proc = proc
        self._who = build.identification(chosen, proc)
        self._investigate = build.investigate_with(proc, source)
        self._source = source
        self._saved = _saved(chosen, proc)
        self._now = boot_ns()

    def take(self, *, one_by_one: bool) -> list[Group]:
        """Return what is there, a group for each parent or for each zombie."""
        snapshot = self._source.snapshot()
        self._now = boot_ns()
        # Whether a zombie is wanted shows only in its pod: then each is looked at.
        each = one_by_one or self._chosen.filters.any
        found = list(self._each(snapshot) if each else self._by_parent(snapshot))
        siblings: dict[int, int] = {}
        for one in found:
            parent_pid = one.child.parent_pid
            siblings[parent_pid] = siblings.get(parent_pid, 0) + one.zombies
        self._learn_names(found)
        groups = []
        for one in found:
            attribution = self._who.attributor.attribute(one.child, one.child.parent_pid or None)
            if not self._chosen.filters.matches(attribution):
                continue
            others = siblings[one.child.parent_pid] - 1
            zombie = Zombie(one.child, self._now, self._now, others)
            view = read_zombie(self._proc, one.child.identity)
            finding = self._investigate(zombie, attribution, self._now, others, view)
            age_ns = zombie.age_ns(self._now)
            record = Record(
                zombie, age_ns, finding.parent, finding.waits, attribution, finding.cause
            )
            if self._chosen.command_lines:
                line = " ".join(self._proc.cmdline(one.child.parent_pid)) or None
                record = replace(record, command_line=line)
            groups.append(Group(record, zombies=one.zombies))
        return groups

    def _each(self, snapshot: Snapshot) -> Iterator[_Found]:
        for index, (pid, start_ticks, _, dead_since) in enumerate(snapshot.keys()):
            since = self._since(Identity(pid, start_ticks), dead_since)
            if self._old_enough(since):
                yield _Found(self._known(snapshot.child(index)), since)

    def _by_parent(self, snapshot: Snapshot) -> Iterator[_Found]:
        parents: dict[int, _Found] = {}
        for index, (pid, start_ticks, parent_pid, dead_since) in enumerate(snapshot.keys()):
            since = dead_since
            if self._saved or self._chosen.min_age_ns:
                since = self._since(Identity(pid, start_ticks), dead_since)
                if not self._old_enough(since):
                    continue
            found = parents.get(parent_pid)
            if found is None:
                parents[parent_pid] = _Found(self._known(snapshot.child(index)), since)
                continue
            found.zombies += 1
            if since and since < (found.since_boot_ns or self._now):
                found.child, found.since_boot_ns = self._known(snapshot.child(index)), since
        return iter(parents.values())

    def _since(self, identity: Identity, dead_since_boot_ns: int) -> int:
        saved = self._saved.get(identity)
        if saved is not None and saved.exit_boot_ns is not None:
            return saved.exit_boot_ns
        return dead_since_boot_ns

    def _old_enough(self, since_boot_ns: int) -> bool:
        return (since_boot_ns or self._now) + self._chosen.min_age_ns <= self._now

    def _known(self, child: Child) -> Child:
        """Add what the agent saw of its death: this look came too late for that."""
        saved = self._saved.get(child.identity)
        if saved is None:
            return child
        return replace(
            child,
            exit_boot_ns=saved.exit_boot_ns,
            exit_parent_pid=saved.exit_parent_pid,
            forker=saved.forker,
            origin=saved.origin,
            origin_pid=saved.origin_pid,
        )

    def _learn_names(self, found: list[_Found]) -> None:
        """Ask the API server only when a zombie is in a pod, and wait for it only then."""
        pods = self._who.pods
        if pods is None:
            return
        children = [one.child for one in found[:1000]]
        attribute = self._who.attributor.attribute
        in_pods = (attribute(child, child.parent_pid or None).container for child in children)
        if not any(in_pods):
            return
        pods.start()
        deadline = time.monotonic() + _NAMES_WAIT_SECONDS
        while not pods.synced and pods.last_error is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if not pods.synced:
            why = pods.last_error or "no answer in time"
            print(f"tracer: pods are named from the node's logs only: {why}", file=sys.stderr)


def _saved(chosen: Options, proc: ProcFs) -> dict[Identity, Child]:
    state = StateStore(chosen.state_dir, proc.boot_id() or "").load()
    return {identity: saved.child for identity, saved in state.zombies.items()}


def _print_json(found: list[Group], chosen: Options) -> None:
    from tracer.render.document import zombie_document  # noqa: PLC0415 - only here
    from tracer.sinks.json_line import json_line  # noqa: PLC0415

    to_wall_ns = boot_to_wall_ns()
    out = sys.stdout
    out.write("[")
    for index, group in enumerate(found):
        document = zombie_document(group.record, node_name=chosen.node_name, to_wall_ns=to_wall_ns)
        out.write(("," if index else "") + "\n" + json_line(document))
    out.write("\n]\n" if found else "]\n")


def _print_table(found: list[Group], by: str, *, wide: bool) -> None:
    if not found:
        print("no zombies", file=sys.stderr)
        return
    layouts = {"parent": BY_PARENT, "pod": BY_POD, "zombie": BY_ZOMBIE}
    groups = found
    if by == "zombie":
        groups = sorted(found, key=lambda group: -group.record.age_ns)
    else:
        groups = _united(found)
        if by == "pod":
            groups = group_by_pod(groups)
    columns = terminal_columns(sys.stdout.fileno())
    text = render_table(
        groups, layouts[by], to_wall_ns=boot_to_wall_ns(), wide=wide, columns=columns
    )
    sys.stdout.write(text)


def _united(found: list[Group]) -> list[Group]:
    """Groups of one zombie each become one a parent; those counted already stay."""
    if all(group.zombies == 1 for group in found):
        return group_by_parent(group.record for group in found)
    return sorted(found, key=lambda group: (-group.zombies, -group.record.age_ns))
