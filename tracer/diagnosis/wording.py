"""Observed facts as sentences with their values: the words of testimony.py. Pure."""

from tracer.clock import NS
from tracer.diagnosis.facts import Facts
from tracer.model import BlockedWait, Process, WaitFor, Waits

Lines = tuple[str, ...]


def duration(ns: int) -> str:
    """Say a duration in words that need no explanation: `0.4 s`, `12 s`, `3 min`, `2 h 10 min`."""
    seconds = max(0, ns) / NS
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def name(process: Process) -> str:
    """Name a process for a sentence: `4711 (worker)`."""
    return f"{process.identity.pid} ({process.comm})"


def parent(facts: Facts) -> str:
    """Name the parent."""
    return f"parent {name(facts.parent)}"


def count(number: int, thing: str) -> str:
    """Say `1 call`, `2 calls`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def dead_for(facts: Facts) -> str:
    """Say how long it has been dead, and whether that is all."""
    at_least = "" if facts.child.exit_boot_ns is not None else "at least "
    return f"it has been dead and unreaped for {at_least}{duration(facts.age_ns)}"


def origin(facts: Facts) -> Lines:
    """Say who made it, as far as anybody saw that."""
    forker = facts.child.forker
    if forker is None:
        return ("who forked it was not seen: that was before tracing began",)
    label = f"{forker.identity.pid} ({forker.comm or '?'})"
    if facts.forker_is_parent:
        if facts.parent_executed_since:
            return (
                (
                    f"its parent forked it when it was still called {forker.comm}, "
                    f"and has become {facts.parent.comm} since"
                ),
            )
        return (f"its parent {label} forked it itself",)
    if facts.evidence.forker_alive:
        return (f"{label} forked it on its parent's behalf (CLONE_PARENT), and lives",)
    if not facts.adopted_after_death:
        return (f"{label} forked it and is gone: {name(facts.parent)} has adopted it",)
    return (
        (
            f"{label} forked it; its parent {facts.child.exit_parent_pid} died after it, "
            f"and {name(facts.parent)} has adopted it"
        ),
    )


def wait_history(facts: Facts) -> Lines:
    """Say how the parent waited, since when that was seen."""
    waits = facts.waits
    if waits is None:
        return ("how the parent waits cannot be seen without BPF",)
    executed = waits.exec_boot_ns is not None and waits.exec_boot_ns > facts.child.start_boot_ns
    since = (
        f"since it {'executed its program' if executed else 'started'} "
        f"{duration(facts.watched_ns)} ago"
        if facts.watched_all_its_life
        else f"in the {duration(facts.watched_ns)} that it was watched"
    )
    if facts.waited_never:
        new = "began no new" if facts.evidence.blocked_waits else "made no"
        return (f"{parent(facts)} {new} wait call {since}", *blocked(facts))
    calls = (
        f"{parent(facts)} made {count(waits.any, 'wait call')} for any child "
        f"and {waits.specific} for one pid or group {since}"
    )
    return (calls, *_last(facts, waits), *_reaped(waits), *blocked(facts))


def _last(facts: Facts, waits: Waits) -> Lines:
    if waits.last_boot_ns is None:
        return ()
    after = waits.last_boot_ns - facts.died_boot_ns
    when = f"{duration(abs(after))} {'after' if after > 0 else 'before'} this one died"
    wanted = facts.evidence.waited_for
    newest_names_one = waits.last_any_boot_ns != waits.last_boot_ns
    whom = f", for {_named(wanted)}" if wanted is not None and newest_names_one else ""
    return (f"its last wait call was {when}{whom}",)


def _named(process: Process) -> str:
    dead = process.state == "Z" and process.threads <= 1
    return f"{name(process)}, which is {'a zombie too' if dead else 'alive'}"


def _reaped(waits: Waits) -> Lines:
    if not waits.reaped:
        return ("none of its children was reaped in that time",)
    late = (
        f", {waits.reaped_late} of them late, "
        f"{duration(waits.reaped_late_ns // waits.reaped_late)} after their death on average"
        if waits.reaped_late
        else ", each within a second of its death"
    )
    were = "child of it was" if waits.reaped == 1 else "children of it were"
    return (f"{waits.reaped} {were} reaped{late}",)


def blocked(facts: Facts) -> Lines:
    """Say in which wait calls the parent is now."""
    inside = "" if facts.parent.vpid == facts.parent.identity.pid else " of its pid namespace"
    return tuple(dict.fromkeys(_blocked(call, inside) for call in facts.evidence.blocked_waits))


def _blocked(call: BlockedWait, inside: str) -> str:
    if call.wanted is WaitFor.ANY:
        return "it is inside a wait call for any child now"
    if call.wanted is WaitFor.GROUP:
        which = (
            "its own process group"
            if call.number is None
            else f"process group {call.number}{inside}"
        )
        return f"it is blocked now in a wait call for {which}"
    which = "a pidfd" if call.number is None else f"pid {call.number}{inside}"
    return f"it is blocked now in a wait call for {which}"


def siblings(facts: Facts) -> Lines:
    """Say how many more zombies the parent has."""
    others = facts.evidence.siblings
    if not others:
        return ()
    have = "other zombie" if others == 1 else "other zombies"
    return (f"the parent has {others} {have}",)


def disposition(facts: Facts) -> Lines:
    """Say what the parent's signal masks hint at."""
    process = facts.parent
    if process.sigchld_caught:
        return ("the parent catches SIGCHLD (weak: many runtimes do)",)
    if process.sigchld_blocked:
        return ("the parent blocks SIGCHLD (weak: it may read it from a signalfd)",)
    return ()
