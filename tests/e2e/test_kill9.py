"""The agent is killed again and again while zombies come and go: nothing is missing.

Every zombie that passed the minimum age has its zombie_detected, every one that was reaped its
zombie_reaped; a line that comes twice says so, with the same id.

TRACER_KILL9_ROUNDS sets how often it is killed, TRACER_KILL9_SEED repeats a run.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter

import pytest
from support.agent import TRACER, environment
from support.schema import problems
from support.zombies import wait_until

from tracer.clock import NS, boot_ns

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

ROUNDS = int(os.environ.get("TRACER_KILL9_ROUNDS", "20"))
SEED = int(os.environ.get("TRACER_KILL9_SEED") or random.randrange(1 << 32))

MIN_AGE_NS = NS
REAPED_AFTER_NS = 8 * NS
"""Some round in between is long enough to detect it: see moments()."""

MAKER = """
import ctypes, os, random, signal, sys, time
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)
seed, uid, reaped_after = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
chance = random.Random(seed)
if uid:
    os.setgid(uid)
    os.setuid(uid)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())
def ticks(pid):
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b") ")[2].split()[19])
def parent():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    reap = []
    for _ in range(40):
        pid = os.fork()
        if not pid:
            os._exit(chance.randrange(3))
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        died = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        say("dead", pid, ticks(pid), died)
        if chance.random() < 0.5:
            reap.append((died + int(reaped_after * 1e9), pid))
        time.sleep(chance.uniform(0.02, 0.2))
    for due, pid in reap:
        time.sleep(max(0, due - time.clock_gettime_ns(time.CLOCK_BOOTTIME)) / 1e9)
        started = ticks(pid)
        os.waitpid(pid, 0)
        say("reaped", pid, started, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    signal.pause()
while True:
    chance.random()
    if not os.fork():
        parent()
    time.sleep(4)
"""


class Makers:
    """Parents of two users, each with some 40 zombies, half of which it reaps later.

    Attributes:
        dead, reaped: when, by (pid, start_ticks).
    """

    def __init__(self, seed):
        self.dead, self.reaped = {}, {}
        self._makers = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    MAKER,
                    str(seed),
                    uid,
                    str(REAPED_AFTER_NS / NS),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            for uid in ("0", "65534")
        ]
        self._readers = [
            threading.Thread(target=self._read, args=(maker,), daemon=True)
            for maker in self._makers
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, maker):
        for line in maker.stdout:
            what, pid, ticks, at = line.split()
            where = self.dead if what == "dead" else self.reaped
            where[int(pid), int(ticks)] = int(at)

    def freeze(self):
        """Make no more of them, and reap no more, while what is there is reported."""
        for maker in self._makers:
            os.kill(maker.pid, signal.SIGSTOP)
            for child in subprocess.run(
                ["pgrep", "-P", str(maker.pid)], capture_output=True, text=True, check=False
            ).stdout.split():
                os.kill(int(child), signal.SIGSTOP)

    def close(self):
        for maker, reader in zip(self._makers, self._readers, strict=True):
            maker.kill()
            maker.wait()
            reader.join()
            maker.stdout.close()


class Killed:
    """An agent whose lines are kept, also those it wrote just before it was killed."""

    def __init__(self, folder):
        options = ("--min-age", "1s", "--no-kubernetes", "--source", "core", "--state-dir", folder)
        self.process = subprocess.Popen(
            [*TRACER, *map(str, options)], env=environment(), stdout=subprocess.PIPE
        )
        self.lines = []
        self._with_its_next_line = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            if self._with_its_next_line:
                self.process.send_signal(signal.SIGKILL)
            if line.endswith(b"\n"):  # else it was killed within write(2)
                self.lines.append(json.loads(line))

    def kill_with_its_next_line(self):
        """Kill it at the moment in which a line comes: the agent may not have noted that yet."""
        self._with_its_next_line = True
        self.process.wait(60)

    def end(self, number):
        self.process.send_signal(number)
        status = self.process.wait(60)
        self._reader.join()
        self.process.stdout.close()
        return status


def moments(chance):
    """Yield how long each agent lives, and whether it is killed with its next line.

    One in three lives long enough to detect what is there.
    """
    for number in range(ROUNDS):
        yield chance.uniform(1.5, 2.5) if number % 3 == 2 else chance.uniform(0, 2), number % 2


def test_nothing_is_missing_and_what_comes_twice_says_so(tmp_path):
    print(f"TRACER_KILL9_SEED={SEED} TRACER_KILL9_ROUNDS={ROUNDS}")
    chance = random.Random(SEED)
    lines = []
    makers = Makers(SEED)
    try:
        for seconds, with_a_line in moments(chance):
            running = Killed(tmp_path / "state")
            end = boot_ns() + int(seconds * NS)
            wait_until(lambda end=end: boot_ns() >= end, what="the moment")
            if with_a_line:
                running.kill_with_its_next_line()
            assert running.end(signal.SIGKILL) == -signal.SIGKILL
            lines += running.lines
        makers.freeze()
        dead, reaped = dict(makers.dead), dict(makers.reaped)
        last = Killed(tmp_path / "state")
        old = max(dead.values()) + MIN_AGE_NS
        wait_until(lambda: boot_ns() > old + 3 * NS, what="the age of the last", timeout=60)
        assert last.end(signal.SIGTERM) == 0
        lines += last.lines
    finally:
        makers.close()

    ours = {pid for pid, _ in dead}
    assert len(ours) == len(dead), "a pid was used twice: make fewer of them"
    about = [line for line in lines if line.get("process", {}).get("pid") in ours]
    detected = Counter(
        line["process"]["pid"] for line in about if line["event"] == "zombie_detected"
    )
    gone = Counter(line["process"]["pid"] for line in about if line["event"] == "zombie_reaped")
    missing = [pid for pid in ours if not detected[pid]]
    missing_reaped = [pid for pid, _ in reaped if not gone[pid]]

    seen, repeated, unmarked = {}, 0, []
    for line in about:
        aged = line["event"] == "zombie_aged" and line["zombie"]["age_seconds"] >= 600
        if line["event.id"] in seen:
            repeated += 1
            if not line.get("repeated"):
                unmarked.append(line)
        seen[line["event.id"]] = line["event"], aged, line["process"]["pid"]
    twice = [key for key, count in Counter(seen.values()).items() if count > 1]
    print(
        f"killed {ROUNDS} times: {len(dead)} zombies, {len(about)} lines, missing {len(missing)},"
        f" of {len(reaped)} reaped missing {len(missing_reaped)}, repeated {repeated}"
    )
    assert missing == []
    assert missing_reaped == []
    assert unmarked == []
    assert twice == [], "the same event had two ids"
    for line in about[:: max(1, len(about) // 50)]:
        assert problems(line) == []
