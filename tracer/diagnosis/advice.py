"""What to do about a zombie, and what does not help. Pure.

advise() gives a few sentences for the log line; steps() the whole list for
`tracer explain`. Both name the commands for this pod; nothing here runs them.
"""

from tracer.diagnosis import how_to_wait, programs, remediation
from tracer.diagnosis.facts import Facts
from tracer.model import CauseCode, Evidence, Process

MAX_CHARACTERS = 700
"""Of advice in a log line."""

_AGE_IS_NO_CURE = "Killing the zombie does nothing: it is dead already."
_INIT_IS_NO_CURE = (
    "An init (tini) does not help here: it cannot reap children of a parent that lives."
)
_RESTART_IS_NO_CURE = "Restarting clears these zombies and does not cure."
_TINI = (
    'Run an init as pid 1: in the image `ENTRYPOINT ["tini", "--", …]` or dumb-init '
    "(docker run --init)"
)


def steps(code: CauseCode, evidence: Evidence) -> tuple[str, ...]:
    """Return what to do, one step each, what matters most first."""
    return tuple(step for step in _STEPS[code](evidence) if step)


def advise(code: CauseCode, evidence: Evidence) -> str:
    """Return the first steps as one text of at most MAX_CHARACTERS."""
    text = ""
    for step in steps(code, evidence):
        longer = f"{text} {step}" if text else step
        if len(longer) > MAX_CHARACTERS:
            continue
        text = longer
    return text


def _clear(evidence: Evidence) -> str:
    workload = remediation.workload_of(evidence)
    if workload is not None:
        return f"To clear what is there now: {remediation.restart(workload)}. {_RESTART_IS_NO_CURE}"
    unit = evidence.attribution.unit if evidence.attribution else None
    if unit and unit.endswith(".service"):
        return f"To clear what is there now: systemctl restart {unit}. {_RESTART_IS_NO_CURE}"
    return f"Ending the parent clears what is there now. {_RESTART_IS_NO_CURE}"


def _who(parent: Process) -> str:
    """Name a program by the pid on the node, and by the one that its owner sees."""
    pid, inside = parent.identity.pid, parent.vpid
    also = "" if inside in {None, pid} else f", {inside} in its container"
    return f"{programs.program(parent)} (pid {pid}{also})"


def _never(evidence: Evidence) -> tuple[str, ...]:
    parent = evidence.parent
    if parent is None:
        return _unknown(evidence)
    if programs.never_waits(parent):
        name = programs.program(parent)
        fix = (
            f"{name} runs in the place of the shell that forked this child, and never waits: "
            f"let an init be the parent (`tini -- sh -c …`, without `exec {name}`), or end the "
            "script with `wait` in place of it."
        )
        return fix, _AGE_IS_NO_CURE, _clear(evidence)
    if Facts(evidence, parent).parent_executed_since:
        name = programs.program(parent)
        return (
            (
                f"{name} was executed over the program that forked this child, and does not know "
                f"of it: start {name} as a child of its own below an init (`tini -- sh -c …`), or "
                "start the other job elsewhere."
            ),
            _AGE_IS_NO_CURE,
            _clear(evidence),
        )
    return (
        f"Fix {_who(parent)}: " + how_to_wait.how_to_wait(programs.language(parent)),
        _INIT_IS_NO_CURE,
        _clear(evidence),
        _AGE_IS_NO_CURE,
    )


def _elsewhere(evidence: Evidence) -> tuple[str, ...]:
    parent = evidence.parent
    if parent is None:
        return _unknown(evidence)
    if evidence.exit_signal not in {None, 17}:
        return (
            "Add __WALL to the parent's wait call: its child was cloned not to send SIGCHLD.",
            _INIT_IS_NO_CURE,
            _clear(evidence),
        )
    if Facts(evidence, parent).waited_any_since:
        return (
            (
                f"{_who(parent)} waits for any child and yet passed this one over. Look whether it "
                "takes one child for each SIGCHLD (signals merge: loop while "
                "waitpid(-1, …, WNOHANG) > 0), or asks with WNOWAIT or __WNOTHREAD, or for a "
                "pid that is gone."
            ),
            _INIT_IS_NO_CURE,
            _clear(evidence),
        )
    return (
        f"{_who(parent)} waits only for pids or groups that it names: "
        "let it wait for this child too, or for any child: "
        + how_to_wait.how_to_wait(programs.language(parent)),
        _INIT_IS_NO_CURE,
        _clear(evidence),
    )


def _slow(evidence: Evidence) -> tuple[str, ...]:
    parent = evidence.parent
    if parent is None:
        return _unknown(evidence)
    return (
        (
            f"{_who(parent)} reaps late, so this one will "
            "likely go by itself; it matters when zombies grow faster than they are reaped."
        ),
        "Let it reap when SIGCHLD comes, and then all that are dead: "
        + how_to_wait.how_to_wait(programs.language(parent)),
        "A SIGCHLD handler must loop (while waitpid(-1, …, WNOHANG) > 0): signals merge.",
        _INIT_IS_NO_CURE,
    )


def _init(evidence: Evidence) -> tuple[str, ...]:
    workload, parent = remediation.workload_of(evidence), evidence.parent
    if parent is not None and not parent.is_init:
        return (
            f"{_who(parent)} made itself a child "
            "subreaper and must wait for any child: " + how_to_wait.how_to_wait(None),
            "Or run it without that, below an init.",
            _clear(evidence),
        )
    replaced = workload is not None and workload.command_replaced
    shared = workload is not None and not workload.share_process_namespace
    return (
        f"{_TINI}."
        + (
            " This pod's `command:` replaces the image's entrypoint, and an init in it with it: "
            "put the init into `command:` too."
            if replaced
            else ""
        ),
        f"Or let the pod's pause process reap: {remediation.share_process_namespace(workload)} "
        "(its containers then see each other's processes, and their files through /proc/PID/root)."
        if shared and workload is not None
        else "",
        f"To see the command: {remediation.show_command(workload)}"
        if replaced and workload is not None
        else "",
        (
            "Or keep daemons from forking into the background (their foreground option), or let "
            "whoever starts them wait for them."
        ),
        _clear(evidence),
    )


def _exec_orphan(evidence: Evidence) -> tuple[str, ...]:
    workload = remediation.workload_of(evidence)
    return (
        (
            "A command run in the container from outside (exec probe, hook, kubectl exec) "
            "ended before a child of its own."
        ),
        *_known_probes(evidence),
        (
            "Let that command wait for what it starts: no `&` without `wait`, "
            "`timeout` inside the probe shorter than timeoutSeconds, and kill the process group; "
            "or probe by httpGet, tcpSocket or grpc, which start nothing."
        ),
        f"{_TINI} to reap what is left.",
        f"Or: {remediation.share_process_namespace(workload)}"
        if workload is not None and not workload.share_process_namespace
        else "",
        f"To see its probes: {remediation.show_probes(workload)}"
        if workload is not None and not workload.probes
        else "",
        _clear(evidence),
    )


def _known_probes(evidence: Evidence) -> tuple[str, ...]:
    workload = remediation.workload_of(evidence)
    if workload is None:
        return ()
    told = []
    for probe in workload.probes[:3]:
        every = f" every {probe.period_seconds} s" if probe.period_seconds else ""
        within = f", timeout {probe.timeout_seconds} s" if probe.timeout_seconds else ""
        told.append(f"{probe.kind} runs `{' '.join(probe.command)[:60]}`{every}{within}")
    return (f"This container's {'; '.join(told)}.",) if told else ()


def _runtime(evidence: Evidence) -> tuple[str, ...]:
    parent = evidence.parent
    name = programs.program(parent) if parent else "the runtime"
    pid = parent.identity.pid if parent else evidence.child.parent_pid
    return (
        (
            f"{name} (pid {pid}) does not reap: known bugs of runtimes under load or after failed "
            "execs. Update containerd, CRI-O, runc or conmon on the node, and look at its log "
            "(journalctl -u containerd -u crio)."
        ),
        (
            "The application cannot fix this. A process that runs with hostPID, or was left by an "
            "exec, may also have been adopted by the shim."
        ),
        _clear(evidence).replace("Ending the parent", "Ending the container"),
    )


def _stopped(evidence: Evidence) -> tuple[str, ...]:
    parent = evidence.parent
    if parent is None:
        return _unknown(evidence)
    if parent.frozen:
        return (
            (
                "Thaw it: docker unpause, crictl or ctr tasks resume, or "
                f"{remediation.thaw(parent)}. It reaps by itself then, if it ever does."
            ),
        )
    if parent.state == "T":
        command = remediation.signal(parent, "CONT", evidence.attribution)
        return (f"Continue it: {command}. It reaps by itself then, if it ever does.",)
    if parent.state == "t":
        return (
            (
                f"A debugger ({parent.tracer_pid or 'unknown pid'}) holds it: continue or detach "
                "there (gdb: `detach`), or end the debugger."
            ),
        )
    return (
        (
            f"It hangs in the kernel: see cat /proc/{parent.identity.pid}/stack on the node; look "
            "for a dead NFS server, failing disk or FUSE mount; or it sits in vfork(2) until its "
            "child executes a program."
        ),
        "Signals do not reach it in that state; once what it waits for answers, it goes on.",
    )


def _traced(evidence: Evidence) -> tuple[str, ...]:
    tracer, pid = evidence.tracer, evidence.child.tracer_pid
    who = f"{tracer.comm} (pid {pid})" if tracer else f"pid {pid}"
    command = remediation.signal(tracer, "TERM", None) if tracer else f"kill {pid}"
    return (
        (
            f"Detach or end the tracer {who} (strace, gdb, a profiler or an agent): {command}. "
            "The parent then gets its child at once."
        ),
        "The parent is not at fault, and an init does not help.",
    )


def _ignored(evidence: Evidence) -> tuple[str, ...]:
    parent = evidence.parent
    name = programs.program(parent) if parent else "the parent"
    return (
        (
            f"{name} ignores SIGCHLD now, but this child died before that: set the disposition "
            "before the first fork, or wait once for what is dead already "
            "(while waitpid(-1, …, WNOHANG) > 0)."
        ),
        "What dies from now on vanishes by itself, so there will not be more.",
        _clear(evidence),
    )


def _unknown(evidence: Evidence) -> tuple[str, ...]:
    pid = evidence.child.parent_pid
    return (
        (
            f"Look again later: tracer explain {evidence.child.identity.pid} --watch 30s "
            f"(or of its parent, {pid})."
        ),
        "With BPF (tracer doctor says what is missing) more can be seen."
        if evidence.waits is None
        else "",
        _clear(evidence),
    )


_STEPS = {
    CauseCode.PARENT_NEVER_WAITS: _never,
    CauseCode.PARENT_WAITS_ELSEWHERE: _elsewhere,
    CauseCode.SLOW_REAPER: _slow,
    CauseCode.INIT_DOES_NOT_REAP: _init,
    CauseCode.EXEC_ORPHAN: _exec_orphan,
    CauseCode.RUNTIME_PARENT: _runtime,
    CauseCode.PARENT_STOPPED: _stopped,
    CauseCode.TRACED: _traced,
    CauseCode.SIGCHLD_IGNORED: _ignored,
    CauseCode.UNKNOWN: _unknown,
}
