"""The text of `tracer explain`, on one screen. Every name in it is escaped."""

import textwrap
from collections import Counter
from collections.abc import Sequence

from tracer.clock import TICK_NS, rfc3339
from tracer.durations import short_duration
from tracer.model import BlockedWait, Child, Process, WaitFor
from tracer.render.explanation import Explanation, Kind
from tracer.render.fields import KERNEL_BYTES
from tracer.render.text import escape_untrusted
from tracer.render.words import exit_code, exit_signal, owner_text, state_name

_BINS = 12
_BAR = 40
_COLUMNS = 96

_WAITED_FOR = "its parent waits for this child"
_DEAD_LEADER = (
    "is alive and not a zombie: its main thread has exited, other threads are still running."
)
_DEAD_LEADER_REMEDY = (
    "`ps` shows it as defunct because it shows the state of the main thread. It cannot be"
    " reaped and does not have to be: it goes away when its last thread exits."
)


def render_explanation(
    explanation: Explanation, *, to_wall_ns: int, columns: int = _COLUMNS
) -> str:
    """Return the text, its lines wrapped at `columns`."""
    parts = [
        _headline(explanation),
        _about(explanation),
        _section("History", _history(explanation, to_wall_ns)),
        _section("Tree", _tree(explanation)),
        _section("Zombies of this parent, by when they died", _histogram(explanation)),
        _section(
            "How the parent waits" if explanation.records else "How it waits", _waiting(explanation)
        ),
        _cause(explanation),
        _section("What to do", _numbered(explanation.steps)),
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


def _headline(explanation: Explanation) -> list[str]:
    if explanation.kind is Kind.DEAD_LEADER:
        return [f"{_subject(explanation)} {_DEAD_LEADER}", _DEAD_LEADER_REMEDY]
    if explanation.kind is Kind.PARENT:
        return [_of_process(explanation)]
    record = explanation.records[0]
    child = record.zombie.child
    name, ended = _name(child.identity.pid, child.comm), _ended(child)
    if explanation.kind is Kind.REAPED:
        return [f"{name} was a zombie and was reaped while it was watched; it {ended}."]
    at_least = "" if child.exit_boot_ns is not None else "at least "
    age = short_duration(record.age_ns)
    return [f"{name} is a zombie: it {ended} and has not been reaped for {at_least}{age}."]


def _of_process(explanation: Explanation) -> str:
    dead, living = len(explanation.family), explanation.living_children
    children = "" if living is None else f" It has {_many(living, 'living child', 'children')}."
    if dead:
        zombies = _many(dead, "zombie", "zombies")
        return f"{_subject(explanation)} is alive and has {zombies}.{children}"
    return f"{_subject(explanation)} is healthy: it is alive and has no zombies.{children}"


def _many(number: int, one: str, many: str) -> str:
    if number == 1:
        return f"1 {one}"
    stem = one.rsplit(" ", 1)[0] + " " if " " in one else ""
    return f"{number or 'no'} {stem}{many}"


def _subject(explanation: Explanation) -> str:
    subject = explanation.subject
    return _name(explanation.pid, subject.comm if subject else None)


def _ended(child: Child) -> str:
    signal, code = exit_signal(child.exit_status), exit_code(child.exit_status)
    if signal is not None:
        return f"was killed by {signal}"
    return "exited with unknown status" if code is None else f"exited with code {code}"


def _about(explanation: Explanation) -> list[str]:
    whose = owner_text(explanation.attribution)
    lines = [] if whose == "-" else [f"  runs in    {escape_untrusted(whose)}"]
    container = explanation.attribution.container
    if container is not None and container.id is not None:
        lines.append(f"  container  {container.runtime or 'container'} {container.id[:12]}")
    subject = explanation.subject
    if subject is not None:
        label = (
            "parent" if explanation.records and explanation.kind is not Kind.PARENT else "process"
        )
        runs = f", {escape_untrusted(subject.path)}" if subject.path else ""
        state = state_name(subject.state)
        lines.append(f"  {label:9}  {_name(subject.identity.pid, subject.comm)}{runs}, {state}")
    return lines


def _history(explanation: Explanation, to_wall_ns: int) -> list[str]:
    if explanation.kind in {Kind.PARENT, Kind.DEAD_LEADER}:
        if explanation.forker is None:
            return []
        return [f"forked by {_name(explanation.forker.identity.pid, explanation.forker.comm)}"]
    record = explanation.records[0]
    child = record.zombie.child

    def at(boot_ns: int) -> str:
        return rfc3339(boot_ns + to_wall_ns)[:23].replace("T", " ") + "Z"

    by = "an unknown process"
    if child.forker is not None:
        by = _name(child.forker.identity.pid, child.forker.comm)
    lines = [f"{at(child.identity.start_ticks * TICK_NS)}  forked by {by}"]
    if child.dead_since_boot_ns is not None:
        about = "" if child.exit_boot_ns is not None else " (time estimated from when it last ran)"
        lines.append(f"{at(child.dead_since_boot_ns)}  {_ended(child)}{about}")
    holds = f"not reaped yet; holds 1 PID and {KERNEL_BYTES // 1024} KiB of kernel memory"
    state = "reaped" if explanation.kind is Kind.REAPED else holds
    lines.append(f"{at(explanation.now_boot_ns)}  {state}")
    return lines


def _tree(explanation: Explanation) -> list[str]:
    lines = []
    for depth, process in enumerate(explanation.ancestors):
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        lines.append(branch + _node(process))
    depth = len(lines)
    branch = "   " * (depth - 1) + "└─ " if depth else ""
    return lines + [branch + line for line in _children(explanation)]


def _children(explanation: Explanation) -> list[str]:
    """Return the child that the parent waits for, the first zombies, and how many more."""
    wanted = explanation.waited_for
    shown = [record.zombie.child for record in explanation.records[:3]]
    left = len(explanation.family) - len(shown)
    lines = []
    for child in shown:
        asked = wanted is not None and wanted.identity == child.identity
        note = f", {_WAITED_FOR}" if asked else ""
        lines.append(f"{_name(child.identity.pid, child.comm)} <defunct>{note}")
    if wanted is not None and wanted.identity not in {child.identity for child in shown}:
        lines.insert(0, f"{_node(wanted)}, {_WAITED_FOR}")
        left -= wanted.state == "Z"
    if left > 0:
        lines.append(f"… and {_many(left, 'more zombie', 'zombies')}")
    return lines


def _node(process: Process) -> str:
    inner = process.vpid is not None and process.vpid != process.identity.pid
    init = " (init)" if process.is_init else ""
    notes = [f"PID {process.vpid}{init} in its PID namespace"] if inner else []
    if process.is_init and not inner:
        notes.append("init")
    notes.append(state_name(process.state) or process.state)
    return f"{_name(process.identity.pid, process.comm)}  {', '.join(notes)}"


def _histogram(explanation: Explanation) -> list[str]:
    now = explanation.now_boot_ns
    ages = [now - died for died in explanation.family if died]
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


def _waiting(explanation: Explanation) -> list[str]:
    waits, now = explanation.view.waits, explanation.now_boot_ns
    if explanation.subject is None or explanation.kind is Kind.DEAD_LEADER:
        return []
    nested = explanation.subject.vpid != explanation.subject.identity.pid
    lines = [_blocked(call, nested=nested) for call in dict.fromkeys(explanation.view.blocked)]
    if waits is None:
        return [*lines, "its wait calls are unknown: --source core or bcc and --watch show them"]
    watched = short_duration(now - waits.watched_since_boot_ns)
    lines.append(
        f"in {watched} of watching: {waits.any} wait calls for any child, "
        f"{waits.specific} for one pid or group"
    )
    if waits.last_boot_ns is not None:
        lines.append(f"the last wait call was {short_duration(now - waits.last_boot_ns)} ago")
    if waits.reaped:
        late = f", {waits.reaped_late} of them late" if waits.reaped_late else ", all promptly"
        lines.append(f"it reaped {_many(waits.reaped, 'child', 'children')} in that time{late}")
    return lines


def _blocked(call: BlockedWait, *, nested: bool) -> str:
    if call.of_thread is not None:
        return (
            f"its thread {call.of_thread} is waiting for children that it forked itself"
            " (__WNOTHREAD), and not for those of other threads"
        )
    if call.wanted is WaitFor.ANY:
        return "it is waiting for any child now, so it reaps its children as they exit"
    if call.wanted is WaitFor.GROUP:
        group = f"process group {call.number}" if call.number else "its own process group"
        return f"it is waiting for children in {group} now, and for no others"
    inside = " (in its PID namespace)" if nested else ""
    whom = "the process of a pidfd" if call.number is None else f"PID {call.number}{inside}"
    return f"it is blocked waiting for {whom}, and for no other child"


def _cause(explanation: Explanation) -> list[str]:
    causes = [record.cause for record in explanation.records if record.cause is not None]
    if not causes:
        return []
    lines = []
    counts = Counter((cause.code, cause.confidence) for cause in causes)
    for (code, confidence), number in counts.most_common():
        first = next(c for c in causes if (c.code, c.confidence) == (code, confidence))
        how_many = f", {number} of {len(causes)} diagnosed" if len(counts) > 1 else ""
        lines += ["", f"Cause: {code.value} ({confidence.value}{how_many})"]
        lines += [f"  - {escape_untrusted(line)}" for line in first.evidence]
    return lines


def _numbered(steps: Sequence[str]) -> list[str]:
    return [f"{number}. {escape_untrusted(step)}" for number, step in enumerate(steps, 1)]
