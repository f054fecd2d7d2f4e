"""`tracer emulate` makes the zombies that it announces, and leaves nothing behind."""

import os
import re
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support import anybody
from support.zombies import children, stat_fields, state, wait_until

from tracer.emulate.run import ranges
from tracer.emulate.scenarios import SCENARIOS

DRIVER = """
import argparse, sys
from tracer.commands import emulate
from tracer.errors import UsageError, PermanentError
parser = argparse.ArgumentParser()
emulate.add_parser(parser.add_subparsers())
args = parser.parse_args(["emulate", *sys.argv[1:]])
try:
    sys.exit(args.run(args))
except UsageError as error:
    print(error, file=sys.stderr); sys.exit(2)
except PermanentError as error:
    print(error, file=sys.stderr); sys.exit(3)
"""


def command(*args):
    return [anybody.PYTHON, "-c", DRIVER, *args]


class Running:
    """An emulator that has printed which zombies it made."""

    def __init__(self, process):
        self.process = process
        self.printed = ""
        while "keeping them" not in self.printed:
            line = process.stdout.readline()
            assert line, self.printed + process.stderr.read()
            self.printed += line
        found = re.search(r"parent (\d+) has (\d+) ", self.printed)
        self.parent, self.count = int(found[1]), int(found[2])

    def states(self):
        """Return the states of the parent's children, by pid."""
        return children(self.parent)

    def family(self):
        """Return the emulator and all its descendants."""
        found, new = {self.process.pid}, {self.process.pid}
        while new:
            new = {child for pid in new for child in children(pid)} - found
            found |= new
        return found


@contextmanager
def emulator(*args, wrapper=()):
    process = subprocess.Popen(
        [*wrapper, *command(*args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=anybody.environment(),
        cwd="/",
    )
    try:
        yield Running(process)
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(10)
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def gone(pids, *, or_inits=False):
    """Return whether none is left, or at most zombies that the machine's init will reap."""
    left = [fields for fields in map(stat_fields, pids) if fields]
    return all(or_inits and fields[:2] == ["Z", "1"] for fields in left)


def dead(states):
    return [pid for pid, letter in states.items() if letter == "Z"]


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def status(pid, name):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split(":", 1)[1].strip() for line in file if line.startswith(name + ":"))


def test_by_default_one_child_that_is_never_waited_for():
    with emulator() as running:
        [zombie] = running.states()
        assert running.parent == running.process.pid
        assert state(zombie) == "Z"
        assert threads(zombie) == 1
        assert str(zombie) in running.printed
        assert "until Ctrl-C" in running.printed


@pytest.mark.parametrize(
    ("cause", "how"),
    [
        *((cause, how) for cause in sorted(SCENARIOS) for how in (signal.SIGINT, signal.SIGKILL)),
        ("parent_never_waits", signal.SIGTERM),
        ("parent_waits_elsewhere", signal.SIGTERM),
    ],
)
def test_nothing_is_left_behind(cause, how):
    """Neither after Ctrl-C or SIGTERM, nor when the emulator itself is killed."""
    with emulator("--cause", cause, "--count", "3") as running:
        family = running.family()
        assert len(family) >= 4
        running.process.send_signal(how)
        assert running.process.wait(10) == (-how if how == signal.SIGKILL else 0)
        # After kill -9 the machine's init reaps them, in its own time.
        wait_until(lambda: gone(family, or_inits=how == signal.SIGKILL), what="the end of all")
        assert running.process.stderr.read() == ""


def test_ctrl_c_in_a_terminal_reaches_all_and_still_cleans_up():
    with emulator("--cause", "parent_waits_elsewhere", wrapper=("setsid", "-w")) as running:
        family = running.family()
        os.killpg(running.parent, signal.SIGINT)
        running.process.wait(10)
        assert "cleaned up" in running.process.stdout.read()
        wait_until(lambda: gone(family))


def test_the_hold_ends_it():
    for cause in ("parent_never_waits", "parent_waits_elsewhere", "parent_stopped"):
        done = subprocess.run(
            command("--cause", cause, "--count", "2", "--hold", "50ms"),
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert "for 50ms" in done.stdout
        assert done.stdout.endswith("cleaned up\n")


def test_many_are_made_fast_and_all_are_dead():
    with emulator("--count", "3000") as running:
        states = running.states()
        assert len(states) == 3000
        assert set(states.values()) == {"Z"}


def test_a_rate_spreads_them():
    done = subprocess.run(
        [*command("--count", "5", "--rate", "20", "--hold", "0s")],
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert "has 5 zombies" in done.stdout


def test_waits_elsewhere_is_blocked_on_one_living_child():
    with emulator("--cause", "parent_waits_elsewhere", "--count", "2") as running:
        states = running.states()
        assert sorted(states.values()) == ["S", "Z", "Z"]
        wchan = Path(f"/proc/{running.parent}/wchan")
        wait_until(lambda: "wait" in wchan.read_text())


def test_a_stopped_parent_is_stopped():
    with emulator("--cause", "parent_stopped", "--count", "2") as running:
        wait_until(lambda: state(running.parent) == "T")
        assert len(dead(running.states())) == 2


def test_traced_ones_are_held_by_their_tracer():
    with emulator("--cause", "traced", "--count", "2") as running:
        zombies = dead(running.states())
        assert len(zombies) == 2
        tracers = {status(pid, "TracerPid") for pid in zombies}
        assert len(tracers) == 1
        assert tracers != {"0"}


def test_a_dead_leader_is_not_a_zombie():
    with emulator("--cause", "dead_leader", "--count", "2") as running:
        states = running.states()
        assert list(states.values()) == ["Z", "Z"]
        assert [threads(pid) for pid in states] == [2, 2]


@pytest.mark.parametrize("cause", ["init_does_not_reap", "exec_orphan"])
def test_orphans_are_adopted_by_a_pid_1_that_does_not_reap(cause):
    with emulator("--cause", cause, "--count", "3") as running:
        assert status(running.parent, "NSpid").split()[-1] == "1"
        assert list(running.states().values()) == ["Z"] * 3


def test_as_pid_1_of_a_container_it_needs_no_namespace_of_its_own():
    with emulator(
        "--cause", "init_does_not_reap", "--count", "3", wrapper=("unshare", "-fp", "--kill-child", "--mount-proc"),
    ) as running:  # fmt: skip
        assert running.parent == 1
        [init] = children(running.process.pid)
        assert list(children(init).values()) == ["Z"] * 3
        os.kill(init, signal.SIGTERM)
        assert running.process.wait(10) == 0


def test_without_privileges_it_makes_what_it_can():
    nobody = (
        "setpriv",
        "--reuid",
        "65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    )
    for cause in ("parent_never_waits", "parent_stopped", "traced", "dead_leader"):
        with emulator("--cause", cause, wrapper=nobody) as running:
            assert len(dead(running.states())) == 1


def test_a_limit_is_reported_with_the_number_made():
    limited = ("setpriv", "--reuid", "54321", "--clear-groups", "prlimit", "--nproc=20")
    done = subprocess.run(
        [*limited, *command("--count", "100")],
        env=anybody.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 3
    found = re.search(
        r"made only (\d+) of 100 zombies and cleaned them up, because fork failed", done.stderr
    )
    assert 0 < int(found[1]) < 20
    assert "ulimit -u 20" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--count", "0"), "--count: '0'"),
        (("--count", "-3"), "--count: '-3'"),
        (("--count", "many"), "--count: 'many'"),
        (("--rate", "0"), "--rate: '0'"),
        (("--rate", "nan"), "--rate: 'nan'"),
        (("--hold", "10"), "--hold: '10'"),
        (
            ("--cause", "sigchld_ignored"),
            "just before its parent starts to ignore SIGCHLD); choose one of parent_never_waits",
        ),
        (("--cause", "runtime_parent"), "cannot be emulated (it takes a bug in containerd-shim"),
        (("--cause", "boredom"), "'boredom' is not a cause; choose one of parent_never_waits"),
    ],
)
def test_a_wrong_option_is_named_with_the_remedy(args, why):
    done = subprocess.run(command(*args), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert why in done.stderr


def test_a_closed_stdout_does_not_keep_it_from_cleaning_up():
    process = subprocess.Popen(
        command("--count", "2"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.stdout.close()
    wait_until(lambda: len(dead(children(process.pid))) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_pids_are_printed_as_ranges():
    assert ranges([5, 1, 2, 3]) == "1-3 5"
    assert ranges(list(range(0, 40, 2)), most=2) == "0 2 and 18 more"
    assert ranges([]) == "(pids unknown)"
