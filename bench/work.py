"""Builds and runs workload.c."""

import contextlib
import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("workload.c")
BUILT = SOURCE.parent.parent / "build" / "bench" / "workload"


def binary():
    if not BUILT.exists() or BUILT.stat().st_mtime < SOURCE.stat().st_mtime:
        BUILT.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-Wall", "-o", BUILT, SOURCE], check=True)
    return BUILT


def run(*arguments):
    """Run it to its end; return what it printed."""
    done = subprocess.run(
        [binary(), *map(str, arguments)], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def cycles_per_second(seconds):
    return float(run("cycles", seconds))


@contextlib.contextmanager
def running(*arguments):
    """Run it in the background and kill it at the end."""
    process = subprocess.Popen(
        [binary(), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@contextlib.contextmanager
def holding(*arguments):
    """Run a program that makes zombies and keeps them; yield the lines it printed before `ready`."""
    with running(*arguments) as process:
        lines = []
        for line in process.stdout:
            if line == "ready\n":
                break
            lines.append(line.split())
        else:
            raise RuntimeError(f"workload {' '.join(map(str, arguments))} failed")
        yield process, lines


@contextlib.contextmanager
def zombies(count, parents=None):
    """Keep this many zombies, by default at most 10,000 of each parent."""
    with holding("zombies", count, parents or -(-count // 10_000)) as (process, _):
        try:
            yield process
        finally:
            # Init reaps what dead parents leave, 300,000 in about a minute.
            parents_left = _children(process.pid)
            process.kill()
            for pid in parents_left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)


def _children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []
