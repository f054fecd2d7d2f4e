"""The zoo: programs that leave zombies in the ways of the field, and the cause each should get."""

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
NONE = "none"
"""Expected of programs that look suspicious and leave no zombie."""
_NEW_PID_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@dataclass(frozen=True)
class Workshop:
    """What the programs are built from: compiled once for all cases.

    Attributes:
        folder: of what is compiled, and of fifos.
    """

    folder: Path

    @property
    def animals(self) -> str:
        return str(self.folder / "animals")


@dataclass(frozen=True)
class Case:
    """One program.

    Attributes:
        name: of the case.
        expected: causes that are right; the first is the one hoped for.
        command: makes the command line.
        needs: programs without which it is skipped.
        then: what is run some time after the start, with the pid of the pid namespace's init.
        freeze: which freezer stops the parent: v1, v2.
        blind: causes also right where nothing is known of forks and waits.
    """

    name: str
    expected: tuple[str, ...]
    command: Callable[[Workshop], list[str]]
    needs: tuple[str, ...] = ()
    then: Callable[[Workshop, int], list[str]] | None = None
    freeze: str = ""
    blind: tuple[str, ...] = field(default=())

    def missing(self) -> str | None:
        """Return the first program that this machine lacks."""
        return next((need for need in self.needs if not shutil.which(need)), None)


def animal(name: str, *expected: str, called: str = "animals", **options) -> Case:
    """A function of animals.c, perhaps under another file name."""
    return Case(
        f"c {name}" + (f" as {called}" if called != "animals" else ""),
        expected,
        lambda shop: [str(shop.folder / called), name],
        ("gcc",),
        **options,
    )


def python(name: str, *expected: str, **options) -> Case:
    """A function of animals.py."""
    return Case(
        f"python {name}",
        expected,
        lambda _: ["/usr/bin/python3", "-I", str(PROGRAMS / "animals.py"), name],
        ("/usr/bin/python3",),
        **options,
    )


def shell(name: str, script: str, *expected: str, under: str = "sh", **options) -> Case:
    """A script; `animals` in it is the compiled program."""
    return Case(
        f"{under} {name}",
        expected,
        lambda shop: [under, "-c", script.replace("animals", shop.animals)],
        ("gcc", under),
        **options,
    )


def pid1(name: str, command: Callable[[Workshop], list[str]], *expected: str, **options) -> Case:
    """The command as pid 1 of a new pid namespace."""
    needs = ("unshare", "gcc", *options.pop("needs", ()))
    return Case(
        f"pid 1 {name}",
        expected,
        lambda shop: [*_NEW_PID_NAMESPACE, *command(shop)],
        needs,
        **options,
    )


def pid1_shell(name: str, script: str, *expected: str, under: str = "sh", **options) -> Case:
    """A script as pid 1."""
    return pid1(
        name,
        lambda shop: [under, "-c", script.replace("animals", shop.animals)],
        *expected,
        needs=(under,),
        **options,
    )


def enter(kind: str) -> Callable[[Workshop, int], list[str]]:
    """Run something in the pid namespace from outside, as an exec probe does."""
    return lambda shop, init: ["nsenter", "--target", str(init), "--pid", shop.animals, kind]


NEVER, ELSEWHERE, SLOW = "parent_never_waits", "parent_waits_elsewhere", "slow_reaper"
INIT, EXEC, RUNTIME = "init_does_not_reap", "exec_orphan", "runtime_parent"
STOPPED, TRACED, IGNORED, UNKNOWN = "parent_stopped", "traced", "sigchld_ignored", "unknown"
_LEFT = "animals daemonize; "

CASES = (
    animal("never", NEVER),
    animal("threads", NEVER),
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
    Case("go start", (NEVER,), lambda shop: [str(shop.folder / "starts")], ("go",)),
    shell("job, then read", "sleep 0.2 & read x", NEVER),
    shell("jobs, commands, then exec", "sleep 0.2 & true; ls >/dev/null; exec sleep 999", NEVER),
    shell("exec over a job", "sleep 0.2 & exec sleep 999", NEVER, under="bash"),
    animal("blocked", ELSEWHERE),
    animal("blocked_pidfd", ELSEWHERE),
    animal("polls", ELSEWHERE, blind=(NEVER,)),
    animal("quick_others", ELSEWHERE, blind=(NEVER,)),
    animal("odd_clone", ELSEWHERE),
    python("supervise", ELSEWHERE),
    python("run_others", ELSEWHERE, blind=(NEVER,)),
    animal("slow", SLOW, blind=(NEVER,)),
    animal("slow_group", SLOW, blind=(NEVER,)),
    animal("handler_once", SLOW, UNKNOWN, ELSEWHERE, blind=(NEVER,)),
    python("popen_dropped", SLOW, blind=(NEVER,)),
    python("poll_all", SLOW, blind=(NEVER,)),
    pid1("late", lambda shop: [shop.animals, "late_init"], SLOW, blind=(INIT, NEVER)),
    pid1_shell("tail", _LEFT + "exec tail -f /dev/null", INIT),
    pid1_shell("sleep", _LEFT + "exec sleep 999", INIT),
    pid1_shell("cat", _LEFT + "exec cat <>$FIFO", INIT),
    pid1_shell("sh in read", _LEFT + "read x", INIT),
    pid1_shell(
        "orphan of the same session", "animals orphan; exec sleep 999", INIT, blind=(NEVER,)
    ),
    pid1(
        "python",
        lambda shop: [
            "/usr/bin/python3",
            "-I",
            str(PROGRAMS / "animals.py"),
            "pid1",
            shop.animals,
            "daemonize",
        ],
        INIT,
    ),
    pid1(
        "node",
        lambda shop: ["node", str(PROGRAMS / "pid1.js"), shop.animals, "daemonize"],
        INIT,
        needs=("node",),
    ),
    pid1(
        "java",
        lambda shop: [
            "java",
            "-Xint",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            str(shop.folder),
            "Pid1",
            shop.animals,
            "daemonize",
        ],
        INIT,
        needs=("java", "javac"),
    ),
    pid1("that supervises", lambda shop: [shop.animals, "supervises"], INIT, blind=(ELSEWHERE,)),
    animal("subreaper", INIT, NEVER),
    pid1_shell("exec over its own job", "sleep 0.2 & exec sleep 999", NEVER),
    pid1(
        "tini over one that never waits",
        lambda shop: ["tini", "--", shop.animals, "never"],
        NEVER,
        needs=("tini",),
    ),
    pid1(
        "dumb-init over one that never waits",
        lambda shop: ["dumb-init", "--", shop.animals, "never"],
        NEVER,
        needs=("dumb-init",),
    ),
    pid1_shell("entered, sleep", "exec sleep 999", EXEC, then=enter("orphan")),
    pid1_shell(
        "entered, tail", "exec tail -f /dev/null", EXEC, then=enter("daemonize"), blind=(INIT,)
    ),
    pid1(
        "entered, supervises",
        lambda shop: [shop.animals, "blocked"],
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
    animal("never", RUNTIME, called="containerd-shim-runc-v2"),
    animal("never", RUNTIME, called="conmon"),
    animal("stopped", STOPPED),
    animal("stopped_reaper", STOPPED),
    animal("held_parent", STOPPED),
    animal("in_vfork", STOPPED),
    Case(
        "c never, frozen by v2",
        (STOPPED,),
        lambda s: [s.animals, "never"],
        ("gcc",),
        freeze="v2",
        blind=(NEVER,),
    ),
    Case(
        "c never, frozen by v1",
        (STOPPED,),
        lambda s: [s.animals, "never"],
        ("gcc",),
        freeze="v1",
        blind=(NEVER,),
    ),
    animal("traced", TRACED),
    animal("ignores_late", IGNORED),
    animal("dead_leader", NONE),
    animal("healthy", NONE),
    shell("jobs and wait", "sleep 0.2 & sleep 999 & wait $!", NONE, under="bash"),
)


def machine() -> str:
    """Describe this machine for the report."""
    return f"Linux {platform.release()} {platform.machine()}"
