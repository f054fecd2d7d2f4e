"""What `tracer explain` tells, on one screen. Pure; every name in it is made escape_untrusted."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tracer.clock import rfc3339
from tracer.durations import short_duration
from tracer.model import Attribution, BlockedWait, Child, Forker, Process, Record, WaitFor, Waits
from tracer.render.fields import KERNEL_BYTES
from tracer.render.text import escape_untrusted
from tracer.render.words import exit_code, exit_signal, owner_text, state_name

_BINS = 12
_BAR = 40
_COLUMNS = 96


class Kind(StrEnum):
    """What the pid turned out to be."""

    ZOMBIE = "zombie"
    REAPED = "reaped"
    """A zombie that was reaped while it was watched."""
    PARENT = "process"
    """A living process, with zombies or without."""
    DEAD_LEADER = "dead_leader"


class View(Protocol):
    """What is known of how a process waits."""

    @property
    def waits(self) -> Waits | None:
        """How it waited."""

    @property
    def blocked(self) -> tuple[BlockedWait, ...]:
        """In which wait calls it is."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is told of one pid.

    Attributes:
        kind: what it is.
        pid: which.
        now_boot_ns: when this was gathered.
        watched_ns: for how long it was watched.
        source: core, bcc or proc.
        subject: the living process: the zombie's parent, or the process itself.
        view: how that waits.
        ancestors: from the init of its pid namespace down to the subject.
        records: the zombies told of: the one asked about, or the subject's.
        family: all zombies of the subject.
        attribution: whose it is.
        forker: who forked the subject.
        living_children: of the subject; None when not counted.
        steps: what to do.
    """

    kind: Kind
    pid: int
    now_boot_ns: int
    watched_ns: int
    source: str
    subject: Process | None
    view: View
    ancestors: tuple[Process, ...]
    records: tuple[Record, ...]
    family: tuple[Child, ...]
    attribution: Attribution
    forker: Forker | None = None
    living_children: int | None = None
    steps: tuple[str, ...] = ()


def render_explanation(story: Explanation, *, to_wall_ns: int, columns: int = _COLUMNS) -> str:
    """Return the story as lines of at most so many columns."""
    parts = [
        _headline(story),
        _about(story),
        _section("History", _history(story, to_wall_ns)),
        _section("Tree", _tree(story)),
        _section("Zombies of this parent, by when they died", _histogram(story)),
        _section("How the parent waits" if story.records else "How it waits", _waiting(story)),
        _cause(story),
        _section("What to do", _numbered(story.steps, columns)),
    ]
    lines = [line for part in parts for line in part]
    return "\n".join(_wrapped(lines, columns)) + "\n"


def _wrapped(lines: Sequence[str], columns: int) -> list[str]:
    out = []
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        out += textwrap.wrap(
            line, columns, subsequent_indent=indent, break_on_hyphens=False, drop_whitespace=True
        ) or [""]
    return out


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _name(pid: int, comm: str | None) -> str:
    return f"{pid} ({escape_untrusted(comm or '?')})"


def _headline(story: Explanation) -> list[str]:
    if story.kind is Kind.DEAD_LEADER:
        return [
            f"{_subject(story)} is alive, and no zombie: its main thread has ended, others live.",
            (
                "`ps` shows it as defunct because it shows the main thread. Nobody can reap it, "
                "and nobody need: it goes when its last thread ends."
            ),
        ]
    if story.kind is Kind.PARENT:
        return [_of_process(story)]
    record = story.records[0]
    child = record.zombie.child
    died = _died(child)
    at_least = "" if child.exit_boot_ns is not None else "at least "
    name = _name(child.identity.pid, child.comm)
    age = short_duration(record.age_ns)
    if story.kind is Kind.REAPED:
        return [f"{name} was a zombie and was reaped while it was watched: it {died}."]
    return [f"{name} is a zombie: it {died}, and is unreaped for {at_least}{age}."]


def _of_process(story: Explanation) -> str:
    dead, living = len(story.family), story.living_children
    children = "" if living is None else f" It has {_many(living, 'living child', 'children')}."
    if dead:
        return f"{_subject(story)} is alive and has {_many(dead, 'zombie', 'zombies')}.{children}"
    return f"{_subject(story)} is healthy: it is alive and has no zombies.{children}"


def _many(number: int, one: str, many: str) -> str:
    if number == 1:
        return f"1 {one}"
    stem = one.rsplit(" ", 1)[0] + " " if " " in one else ""
    return f"{number or 'no'} {stem}{many}"


def _subject(story: Explanation) -> str:
    subject = story.subject
    return _name(story.pid, subject.comm if subject else None)


def _died(child: Child) -> str:
    signal, code = exit_signal(child.exit_status), exit_code(child.exit_status)
    if signal is not None:
        return f"was killed by {signal}"
    return "died" if code is None else f"exited with code {code}"


def _about(story: Explanation) -> list[str]:
    whose = owner_text(story.attribution)
    lines = [] if whose == "-" else [f"  of         {escape_untrusted(whose)}"]
    container = story.attribution.container
    if container is not None and container.id is not None:
        lines.append(f"  container  {container.runtime or 'container'} {container.id[:12]}")
    subject = story.subject
    if subject is not None:
        label = "parent" if story.records and story.kind is not Kind.PARENT else "program"
        runs = f", {escape_untrusted(subject.path)}" if subject.path else ""
        state = state_name(subject.state)
        lines.append(f"  {label:9}  {_name(subject.identity.pid, subject.comm)}{runs}, {state}")
    return lines


def _history(story: Explanation, to_wall_ns: int) -> list[str]:
    if story.kind in {Kind.PARENT, Kind.DEAD_LEADER}:
        if story.forker is None:
            return []
        return [f"forked by {_name(story.forker.identity.pid, story.forker.comm)}"]
    record = story.records[0]
    child = record.zombie.child

    def at(boot_ns: int) -> str:
        return rfc3339(boot_ns + to_wall_ns)[:23].replace("T", " ") + "Z"

    by = "by whom was not seen"
    if child.forker is not None:
        by = f"by {_name(child.forker.identity.pid, child.forker.comm)}"
    lines = [f"{at(child.start_boot_ns)}  forked, {by}"]
    if child.dead_since_boot_ns is not None:
        about = "" if child.exit_boot_ns is not None else " (inferred from when it last ran)"
        lines.append(f"{at(child.dead_since_boot_ns)}  {_died(child)}{about}")
    then = "reaped" if story.kind is Kind.REAPED else "still there"
    holds = f", holding 1 pid and {KERNEL_BYTES // 1024} KiB of kernel memory"
    lines.append(f"{at(story.now_boot_ns)}  {then}{'' if then == 'reaped' else holds}")
    return lines


def _tree(story: Explanation) -> list[str]:
    lines = []
    for depth, process in enumerate(story.ancestors):
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        lines.append(branch + _node(process))
    depth = len(lines)
    branch = "   " * (depth - 1) + "└─ " if depth else ""
    for record in story.records[:3]:
        child = record.zombie.child
        lines.append(f"{branch}{_name(child.identity.pid, child.comm)} <defunct>")
    more = len(story.family) - len(story.records[:3])
    if more > 0:
        lines.append(f"{branch}… and {_many(more, 'more zombie', 'zombies')}")
    return lines or []


def _node(process: Process) -> str:
    inner = process.vpid is not None and process.vpid != process.identity.pid
    notes = [f"pid {process.vpid} in its pid namespace"] if inner else []
    if process.is_init:
        notes.append("the init" if not inner else "its init")
    notes.append(state_name(process.state) or process.state)
    return f"{_name(process.identity.pid, process.comm)}  {', '.join(notes)}"


def _histogram(story: Explanation) -> list[str]:
    now = story.now_boot_ns
    ages = [now - c.dead_since_boot_ns for c in story.family if c.dead_since_boot_ns is not None]
    if len(ages) < 2:
        return []
    width = max(1, -(-(max(ages) + 1) // _BINS))
    counts = Counter(age // width for age in ages)
    top = max(counts.values())
    quiet = min(counts)
    lines = [
        f"{short_duration(slot * width):>6} to {short_duration((slot + 1) * width):>6} ago  "
        f"{'#' * -(-counts[slot] * _BAR // top)} {counts[slot]}".rstrip()
        for slot in range(max(counts), quiet - 1, -1)
    ]
    if quiet:
        lines.append(f"{short_duration(0):>6} to {short_duration(quiet * width):>6} ago  none")
    return lines


def _waiting(story: Explanation) -> list[str]:
    waits, now = story.view.waits, story.now_boot_ns
    if story.subject is None or story.kind is Kind.DEAD_LEADER:
        return []
    nested = story.subject.vpid != story.subject.identity.pid
    lines = [_blocked(call, nested=nested) for call in dict.fromkeys(story.view.blocked)]
    if waits is None:
        return [*lines, "its wait calls were not watched: that takes BPF and --watch"]
    watched = short_duration(now - waits.watched_since_boot_ns)
    lines.append(
        f"in {watched} of watching: {waits.any} wait calls for any child, "
        f"{waits.specific} for one pid or group"
    )
    if waits.last_boot_ns is not None:
        lines.append(f"the last one {short_duration(now - waits.last_boot_ns)} ago")
    if waits.reaped:
        late = f", {waits.reaped_late} of them late" if waits.reaped_late else ", all promptly"
        lines.append(f"{_many(waits.reaped, 'child', 'children')} reaped in that time{late}")
    return lines


def _blocked(call: BlockedWait, *, nested: bool) -> str:
    if call.wanted is WaitFor.ANY:
        return "it is in a wait call for any child now: it reaps what dies, at once"
    if call.wanted is WaitFor.GROUP:
        return f"it is in a wait call for process group {call.number or 'of its own'} now"
    inside = " of its pid namespace" if nested else ""
    whom = "a pidfd" if call.number is None else f"pid {call.number}{inside}"
    return f"it is blocked in a wait call for {whom} now"


def _cause(story: Explanation) -> list[str]:
    causes = [record.cause for record in story.records if record.cause is not None]
    if not causes:
        return []
    lines = []
    told = Counter((cause.code, cause.confidence) for cause in causes)
    for (code, confidence), number in told.most_common():
        first = next(c for c in causes if (c.code, c.confidence) == (code, confidence))
        how_many = f", {number} of {len(causes)} looked at" if len(told) > 1 else ""
        lines += ["", f"Cause: {code.value} ({confidence.value}{how_many})"]
        lines += [f"  - {escape_untrusted(line)}" for line in first.evidence]
    return lines


def _numbered(steps: Sequence[str], _columns: int) -> list[str]:
    return [f"{number}. {escape_untrusted(step)}" for number, step in enumerate(steps, 1)]
