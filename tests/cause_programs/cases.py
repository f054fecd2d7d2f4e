"""Programs that leave zombies as it happens in the field, and the cause each should get."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
NONE = "none"
"""Expected of programs that look suspicious but leave no zombie."""
_NEW_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Toolchain:
    """The compiled programs, shared by all cases.

    Attributes:
        folder: where they and a fifo are.
    """

    folder: Path

    @property
    def causes(self) -> str:
        return str(self.folder / "causes")


@dataclass(frozen=True)
class Case:
    """One program.

    Attributes:
        name: of the case.
        expected: the right causes; the first one is the best.
        command: returns the command line.
        needs: programs without which it is skipped.
        then: returns a command that is run some time after the start; it gets the pid of PID 1
            of the PID namespace.
        freeze: which freezer stops the parent: v1, v2.
        blind: causes that are also right where forks and wait calls were not observed.
    """

    name: str
    expected: tuple[str, ...]
    command: Callable[[Toolchain], list[str]]
    needs: tuple[str, ...] = ()
    then: Callable[[Toolchain, int], list[str]] | None = None
    freeze: str = ""
    blind: tuple[str, ...] = field(default=())

    def missing(self) -> str | None:
        """Return the first program that this machine lacks."""
        return next((need for need in self.needs if not shutil.which(need)), None)


def c_program(name: str, *expected: str, called: str = "causes", **options) -> Case:
    """A function of causes.c, perhaps under another file name."""
    return Case(
        f"c {name}" + (f" as {called}" if called != "causes" else ""),
        expected,
        lambda toolchain: [str(toolchain.folder / called), name],
        ("gcc",),
        **options,
    )


def python(name: str, *expected: str, **options) -> Case:
    """A function of causes.py."""
    return Case(
        f"python {name}",
        expected,
        lambda _: ["/usr/bin/python3", "-I", str(PROGRAMS / "causes.py"), name],
        ("/usr/bin/python3",),
        **options,
    )


def shell(name: str, script: str, *expected: str, under: str = "sh", **options) -> Case:
    """A script; `causes` in it is the compiled program."""
    return Case(
        f"{under} {name}",
        expected,
        lambda toolchain: [under, "-c", script.replace("causes", toolchain.causes)],
        ("gcc", under),
        **options,
    )


def pid1(name: str, command: Callable[[Toolchain], list[str]], *expected: str, **options) -> Case:
    """The command as PID 1 of a new PID namespace."""
    needs = ("unshare", "gcc", *options.pop("needs", ()))
    return Case(
        f"pid 1 {name}",
        expected,
        lambda toolchain: [*_NEW_PID_NAMESPACE, *command(toolchain)],
        needs,
        **options,
    )


def pid1_shell(name: str, script: str, *expected: str, under: str = "sh", **options) -> Case:
    """A script as PID 1."""
    return pid1(
        name,
        lambda toolchain: [under, "-c", script.replace("causes", toolchain.causes)],
        *expected,
        needs=(under,),
        **options,
    )


def enter(kind: str) -> Callable[[Toolchain, int], list[str]]:
    """Run something in the PID namespace from outside, as an exec probe does."""
    return lambda toolchain, init: [
        "nsenter",
        "--target",
        str(init),
        "--pid",
        toolchain.causes,
        kind,
    ]


NEVER, ELSEWHERE, SLOW = "parent_never_waits", "parent_waits_elsewhere", "slow_reaper"
INIT, EXEC, RUNTIME = "init_does_not_reap", "exec_orphan", "runtime_parent"
STOPPED, TRACED, IGNORED, UNKNOWN = "parent_stopped", "traced", "sigchld_ignored", "unknown"
_LEFT = "causes daemonize; "

CASES = (
    c_program("never", NEVER),
    c_program("threads", NEVER),
    python("fork", NEVER),
    python("popen_kept", NEVER),
    python("pool", NEVER),
    Case("perl fork", (NEVER,), lambda _: ["perl", str(PROGRAMS / "forgets.pl")], ("perl",)),
    Case(
        "node blocked loop",
        (NEVER,),
        lambda _: ["node", str(PROGRAMS / "blocked.js")],
        ("node",),
    ),
    Case("go start", (NEVER,), lambda toolchain: [str(toolchain.folder / "starts")], ("go",)),
    shell("job, then read", "sleep 0.2 & read x", NEVER),
    shell("jobs, commands, then exec", "sleep 0.2 & true; ls >/dev/null; exec sleep 999", NEVER),
    shell("exec over a job", "sleep 0.2 & exec sleep 999", NEVER, under="bash"),
    c_program("blocked", ELSEWHERE),
    c_program("blocked_pidfd", ELSEWHERE),
    c_program("polls", ELSEWHERE, blind=(NEVER,)),
    c_program("quick_others", ELSEWHERE, blind=(NEVER,)),
    c_program("non_sigchld_clone", ELSEWHERE),
    python("supervise", ELSEWHERE),
    python("run_others", ELSEWHERE, blind=(NEVER,)),
    c_program("slow", SLOW, blind=(NEVER,)),
    c_program("slow_group", SLOW, blind=(NEVER,)),
    c_program("handler_once", SLOW, UNKNOWN, ELSEWHERE, blind=(NEVER,)),
    python("popen_dropped", SLOW, blind=(NEVER,)),
    python("poll_all", SLOW, blind=(NEVER,)),
    pid1("late", lambda toolchain: [toolchain.causes, "late_init"], SLOW, blind=(INIT, NEVER)),
    pid1_shell("tail", _LEFT + "exec tail -f /dev/null", INIT),
    pid1_shell("sleep", _LEFT + "exec sleep 999", INIT),
    pid1_shell("cat", _LEFT + "exec cat <>$FIFO", INIT),
    pid1_shell("sh in read", _LEFT + "read x", INIT),
    pid1_shell("orphan of the same session", "causes orphan; exec sleep 999", INIT, blind=(NEVER,)),
    pid1(
        "python",
        lambda toolchain: [
            "/usr/bin/python3",
            "-I",
            str(PROGRAMS / "causes.py"),
            "pid1",
            toolchain.causes,
            "daemonize",
        ],
        INIT,
    ),
    pid1(
        "node",
        lambda toolchain: ["node", str(PROGRAMS / "pid1.js"), toolchain.causes, "daemonize"],
        INIT,
        needs=("node",),
    ),
    pid1(
        "java",
        lambda toolchain: [
            "java",
            "-Xint",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            str(toolchain.folder),
            "Pid1",
            toolchain.causes,
            "daemonize",
        ],
        INIT,
        needs=("java", "javac"),
    ),
    pid1(
        "that supervises",
        lambda toolchain: [toolchain.causes, "supervises"],
        INIT,
        blind=(ELSEWHERE,),
    ),
    c_program("subreaper", INIT, NEVER),
    pid1_shell("exec over its own job", "sleep 0.2 & exec sleep 999", NEVER),
    pid1(
        "tini over one that never waits",
        lambda toolchain: ["tini", "--", toolchain.causes, "never"],
        NEVER,
        needs=("tini",),
    ),
    pid1(
        "dumb-init over one that never waits",
        lambda toolchain: ["dumb-init", "--", toolchain.causes, "never"],
        NEVER,
        needs=("dumb-init",),
    ),
    pid1_shell("entered, sleep", "exec sleep 999", EXEC, then=enter("orphan")),
    pid1_shell(
        "entered, tail", "exec tail -f /dev/null", EXEC, then=enter("daemonize"), blind=(INIT,)
    ),
    pid1(
        "entered, supervises",
        lambda toolchain: [toolchain.causes, "blocked"],
        EXEC,
        ELSEWHERE,
        then=enter("orphan"),
    ),
    pid1(
        "tini, entered",
        lambda _: ["tini", "--", "sleep", "999"],
        NONE,
        needs=("tini",),
        then=enter("orphan"),
    ),
    pid1(
        "dumb-init, entered",
        lambda _: ["dumb-init", "--", "sleep", "999"],
        NONE,
        needs=("dumb-init",),
        then=enter("daemonize"),
    ),
    pid1_shell("bash, daemon", _LEFT + "sleep 999; true", NONE, under="bash"),
    c_program("never", RUNTIME, called="containerd-shim-runc-v2"),
    c_program("never", RUNTIME, called="conmon"),
    c_program("stopped", STOPPED),
    c_program("stopped_reaper", STOPPED),
    c_program("held_parent", STOPPED),
    c_program("in_vfork", STOPPED),
    Case(
        "c never, frozen by v2",
        (STOPPED,),
        lambda s: [s.causes, "never"],
        ("gcc",),
        freeze="v2",
        blind=(NEVER,),
    ),
    Case(
        "c never, frozen by v1",
        (STOPPED,),
        lambda s: [s.causes, "never"],
        ("gcc",),
        freeze="v1",
        blind=(NEVER,),
    ),
    c_program("traced", TRACED),
    c_program("ignores_late", IGNORED),
    c_program("dead_leader", NONE),
    c_program("healthy", NONE),
    shell("jobs and wait", "sleep 0.2 & sleep 999 & wait $!", NONE, under="bash"),
)


def machine() -> str:
    """Describe this machine for the report."""
    return f"Linux {platform.release()} {platform.machine()}"
