"""Sentences that several causes share: observed facts with their values. Pure."""

from tracer.clock import NS
from tracer.diagnosis import programs
from tracer.diagnosis.facts import Facts
from tracer.model import BlockedWait, Process, WaitFor, Waits

Lines = tuple[str, ...]


def duration(ns: int) -> str:
    """Write a duration with its unit: `0.4 s`, `12 s`, `3 min`, `2 h 10 min`, `3 days`."""
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
    """Name a process: `4711 (worker)`."""
    return f"{process.identity.pid} ({process.comm})"


def parent(facts: Facts) -> str:
    """Name the parent: `parent 4711 (worker)`."""
    return f"parent {name(facts.parent)}"


def count(number: int, thing: str) -> str:
    """Write `1 call`, `2 calls`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def zombie_for(facts: Facts) -> str:
    """Say how long it has been a zombie."""
    at_least = "" if facts.child.exit_boot_ns is not None else "at least "
    return f"it has been a zombie for {at_least}{duration(facts.age_ns)}"


def adopter(facts: Facts) -> str:
    """Say why this parent adopts orphans."""
    if not facts.parent.is_init:
        return f"{parent(facts)} is not PID 1; it adopts orphans as a child subreaper"
    program = programs.program(facts.parent)
    where = (
        "this machine"
        if facts.parent.identity.pid == 1
        else f"its PID namespace (host PID {facts.parent.identity.pid})"
    )
    return f"its parent is PID 1 of {where} and runs {program}"


def never_waits(facts: Facts) -> Lines:
    """Say that the parent's program contains no wait call, where that is so."""
    if not facts.parent_never_waits_by_nature:
        return ()
    return (f"{programs.program(facts.parent)} is a program that never calls wait()",)


def origin(facts: Facts) -> Lines:
    """Say which process forked it, as far as that was observed."""
    forker = facts.child.forker
    if forker is None:
        return (_unknown_forker(facts),)
    label = f"{forker.identity.pid} ({forker.comm or '?'})"
    if facts.forker_is_parent:
        if facts.parent_executed_since:
            return (
                (
                    f"its parent forked it while it still ran {forker.comm}, "
                    f"and has executed {facts.parent.comm} since"
                ),
            )
        return (f"its parent {label} forked it",)
    if facts.evidence.forker_alive:
        return (f"{label} forked it with CLONE_PARENT and is still running",)
    if not facts.adopted_after_death:
        return (f"{label} forked it and has exited, so {name(facts.parent)} adopted it",)
    return (
        (
            f"{label} forked it; its parent {facts.child.exit_parent_pid} exited after it, "
            f"so {name(facts.parent)} adopted it"
        ),
    )


def _unknown_forker(facts: Facts) -> str:
    attached = facts.evidence.attached_boot_ns
    if attached is not None and facts.child.start_boot_ns < attached:
        return "forked before tracing started, so the forking process is unknown"
    return "its fork was not observed, so the forking process is unknown"


def wait_history(facts: Facts) -> Lines:
    """Say how the parent waited, and for how long that was observed."""
    waits = facts.waits
    if waits is None:
        return ("the parent's wait calls were not observed (only a BPF source sees them)",)
    executed = waits.exec_boot_ns is not None and waits.exec_boot_ns > facts.child.start_boot_ns
    since = (
        f"since {'its last exec' if executed else 'it started'} {duration(facts.watched_ns)} ago"
        if facts.watched_all_its_life
        else f"in the {duration(facts.watched_ns)} it was observed"
    )
    if facts.waited_never:
        new = "entered no new" if facts.evidence.blocked_waits else "made no"
        return (f"{parent(facts)} {new} wait call {since}", *blocked(facts))
    calls = (
        f"{parent(facts)} made {count(waits.any, 'wait call')} for any child "
        f"and {waits.specific} for a specific PID or process group {since}"
    )
    return (calls, *_last(facts, waits), *_reaped(waits), *blocked(facts))


def _last(facts: Facts, waits: Waits) -> Lines:
    if waits.last_boot_ns is None:
        return ()
    after = waits.last_boot_ns - facts.died_boot_ns
    when = f"{duration(abs(after))} {'after' if after > 0 else 'before'} this child exited"
    wanted = facts.evidence.waited_for
    newest_names_one = waits.last_any_boot_ns != waits.last_boot_ns
    whom = f" and was for {_wanted(wanted)}" if wanted is not None and newest_names_one else ""
    return (f"its last wait call came {when}{whom}",)


def _wanted(process: Process) -> str:
    dead = process.state == "Z" and process.threads <= 1
    return f"{name(process)}, which is {'also a zombie' if dead else 'still running'}"


def _reaped(waits: Waits) -> Lines:
    if not waits.reaped:
        return ("none of its children was reaped in that time",)
    late = (
        f", {waits.reaped_late} of them late "
        f"({duration(waits.reaped_late_ns // waits.reaped_late)} after they exited on average)"
        if waits.reaped_late
        else ", each within a second of its exit"
    )
    were = "1 of its children was" if waits.reaped == 1 else f"{waits.reaped} of its children were"
    return (f"{were} reaped in that time{late}",)


def blocked(facts: Facts) -> Lines:
    """Say in which wait calls the parent is now."""
    inside = "" if facts.parent.vpid == facts.parent.identity.pid else " of its PID namespace"
    return tuple(dict.fromkeys(_blocked(call, inside) for call in facts.evidence.blocked_waits))


def _blocked(call: BlockedWait, inside: str) -> str:
    if call.wanted is WaitFor.ANY:
        return "it is now in a wait call for any child"
    if call.wanted is WaitFor.THREAD:
        return "it is now in a wait call for the children of another of its threads (__WNOTHREAD)"
    if call.wanted is WaitFor.GROUP:
        which = (
            "its own process group"
            if call.number is None
            else f"process group {call.number}{inside}"
        )
        return f"it is now blocked in a wait call for {which}"
    which = "a pidfd" if call.number is None else f"PID {call.number}{inside}"
    return f"it is now blocked in a wait call for {which}"


def siblings(facts: Facts) -> Lines:
    """Say how many more zombies the parent has."""
    others = facts.evidence.siblings
    return (f"the parent has {count(others, 'other zombie')}",) if others else ()


def disposition(facts: Facts) -> Lines:
    """Say what the parent's signal masks hint at."""
    process = facts.parent
    if process.sigchld_caught:
        return ("the parent catches SIGCHLD (weak evidence: many runtimes always do)",)
    if process.sigchld_blocked:
        return ("the parent blocks SIGCHLD (weak evidence: it may read it from a signalfd)",)
    return ()
