"""The observed facts behind a result: one function a cause. Pure."""

from tracer.diagnosis import programs
from tracer.diagnosis.facts import Facts
from tracer.diagnosis.wording import (
    Lines,
    count,
    dead_for,
    disposition,
    duration,
    name,
    origin,
    parent,
    siblings,
    wait_history,
)
from tracer.model import Evidence


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
    if facts.adopted is None and facts.foreign_session:
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
        if facts.non_sigchld_clone
        else ()
    )
    passed = facts.waited_any_since and not facts.non_sigchld_clone
    over = ("a wait for any child came after its death and left it lying",) if passed else ()
    return (*odd, *origin(facts), *wait_history(facts), *over, dead_for(facts), *siblings(facts))


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
