"""The observed facts behind a verdict, as sentences with their values. Pure."""

from tracer import programs
from tracer.clock import NS
from tracer.facts import Facts
from tracer.records import BlockedWait, Evidence, Process, WaitFor, Waits

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
    since = (
        f"since it started {duration(facts.watched_ns)} ago"
        if facts.watched_all_its_life
        else f"in the {duration(facts.watched_ns)} that it was watched"
    )
    if facts.waited_never:
        return (f"{parent(facts)} made no wait call {since}", *blocked(facts))
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
    return tuple(dict.fromkeys(_blocked(call) for call in facts.evidence.blocked_waits))


def _blocked(call: BlockedWait) -> str:
    if call.wanted is WaitFor.ANY:
        return "it is inside a wait call for any child now"
    if call.wanted is WaitFor.GROUP:
        which = "its own process group" if call.number is None else f"process group {call.number}"
        return f"it is blocked now in a wait call for {which}"
    which = "a pidfd" if call.number is None else f"pid {call.number} (in its own pid namespace)"
    return f"it is blocked now in a wait call for {which}"


def siblings(facts: Facts) -> Lines:
    """Say how many more zombies the parent has."""
    others = facts.evidence.siblings
    if not others:
        return ()
    have = "other zombie" if others == 1 else "other zombies"
    return (f"the parent has {others} {have}",)


def _position(facts: Facts) -> str:
    if not facts.parent.is_init:
        return f"{parent(facts)} is no pid 1: it adopts as a child subreaper"
    program = programs.program(facts.parent)
    where = (
        "of this machine"
        if facts.parent.identity.pid == 1
        else f"of its pid namespace (host pid {facts.parent.identity.pid})"
    )
    return f"its parent is pid 1 {where}, and runs {program}"


def tracer(facts: Facts) -> Lines:
    """For traced."""
    process = facts.evidence.tracer
    who = name(process) if process else str(facts.child.tracer_pid)
    same = facts.child.tracer_pid == facts.parent.identity.pid
    held = (
        f"its parent {who} traces it (TracerPid)"
        if same
        else f"{who} traces it (TracerPid), and is not its parent {name(facts.parent)}: "
        "no wait of the parent returns it before the tracer waits for it or detaches"
    )
    state = (f"the tracer's state is {process.state}",) if process else ()
    return (held, *state, dead_for(facts))


def runtime(facts: Facts) -> Lines:
    """For runtime_parent."""
    runs = facts.parent.path or f"{facts.parent.comm} (by its name alone)"
    nested = (
        ("it died inside a pid namespace of its own",)
        if facts.child.vpid not in {None, facts.child.identity.pid}
        else ()
    )
    return (
        f"{parent(facts)} runs {runs}, a container runtime's shim or monitor",
        *nested,
        *origin(facts),
        *wait_history(facts),
    )


def stopped(facts: Facts) -> Lines:
    """For parent_stopped."""
    process, states = facts.parent, []
    if process.frozen:
        where = f" {process.cgroup_path}" if process.cgroup_path else ""
        states.append(f"{parent(facts)} is frozen with its cgroup{where}")
    elif process.state == "T":
        states.append(f"{parent(facts)} is stopped by a signal (state T)")
    elif process.state == "t":
        holder = facts.evidence.parent_tracer
        by = name(holder) if holder else process.tracer_pid or "a tracer"
        states.append(f"{parent(facts)} is held by {by} (state t)")
    else:
        threads = f"{process.threads_uninterruptible} of {count(process.threads, 'thread')}"
        unmoved = facts.evidence.parent_unmoved_ns
        since = f", and has not run for {duration(unmoved)}" if unmoved else ""
        states.append(f"{parent(facts)} is in uninterruptible sleep: {threads} in state D{since}")
    return (*states, dead_for(facts), *wait_history(facts))


def ignored(facts: Facts) -> Lines:
    """For sigchld_ignored."""
    return (
        f"{parent(facts)} ignores SIGCHLD (SigIgn): the kernel reaps what dies under it by itself",
        f"{dead_for(facts)}, so it died before the parent began to ignore it, or was held then",
        *wait_history(facts),
    )


def slow(facts: Facts) -> Lines:
    """For slow_reaper."""
    just_now = ("it was reaped while it was looked at",) if facts.reaped_just_now else ()
    return (*just_now, *wait_history(facts), dead_for(facts), *siblings(facts))


def exec_orphan(facts: Facts) -> Lines:
    """For exec_orphan."""
    entry = facts.child.origin_pid
    if facts.child.origin is not None:
        by = f" with process {entry}" if entry and entry != facts.child.identity.pid else ""
        came = f"its line began{by} that entered the pid namespace from outside, not with its init"
        if not by:
            came = "it entered the pid namespace from outside itself, not from its init"
    else:
        came = "its session was made outside its pid namespace, and is not that of its init"
    return (came, *origin(facts), _position(facts), *wait_history(facts), dead_for(facts))


def init(facts: Facts) -> Lines:
    """For init_does_not_reap."""
    lines = [*origin(facts)]
    if facts.adopted is None and facts.strange_session:
        lines.append(
            f"its session {facts.evidence.session} is neither its own nor its parent's: "
            "a process in between made it, and is no longer its parent"
        )
    if facts.parent_never_waits_by_nature:
        lines.append(f"{programs.program(facts.parent)} has no wait call in it")
    return (*lines, _position(facts), *wait_history(facts), dead_for(facts), *siblings(facts))


def elsewhere(facts: Facts) -> Lines:
    """For parent_waits_elsewhere."""
    odd = (
        (
            (
                f"it was cloned to send signal {facts.evidence.exit_signal} at its death, "
                "not SIGCHLD: only wait calls with __WALL or __WCLONE return it"
            ),
        )
        if facts.odd_clone
        else ()
    )
    return (*odd, *origin(facts), *wait_history(facts), dead_for(facts), *siblings(facts))


def never(facts: Facts) -> Lines:
    """For parent_never_waits."""
    nature = (
        (f"{programs.program(facts.parent)} has no wait call in it",)
        if facts.parent_never_waits_by_nature
        else ()
    )
    return (
        *origin(facts),
        *nature,
        *wait_history(facts),
        dead_for(facts),
        *siblings(facts),
        *disposition(facts),
    )


def disposition(facts: Facts) -> Lines:
    """Say what the parent's signal masks hint at."""
    process = facts.parent
    if process.sigchld_caught:
        return ("the parent catches SIGCHLD (weak: many runtimes do)",)
    if process.sigchld_blocked:
        return ("the parent blocks SIGCHLD (weak: it may read it from a signalfd)",)
    return ()


def nothing(facts: Facts) -> Lines:
    """For unknown."""
    return (
        *origin(facts),
        *wait_history(facts),
        dead_for(facts),
        f"{parent(facts)} is in state {facts.parent.state}",
    )


def no_parent(evidence: Evidence) -> Lines:
    """For unknown, when the parent could not be read."""
    pid = evidence.child.parent_pid
    why = f"its parent {pid} could not be read" if pid else "its parent is outside of this /proc"
    return (why, f"it has been dead and unreaped for {duration(evidence.age_ns)}")
