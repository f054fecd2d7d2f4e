"""The writer on real full disks: a torn line costs itself only, and every failure is said."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from support.kernel import require

from tracer.clock import NS
from tracer.sinks.complaints import Complaints

BEGIN = r"""
import json, os, sys
from support.zombies import wait_until
from tracer.sinks.writer import LineWriter

folder = sys.argv[1]
done = []

def emit(writer, *numbers):
    "Write one line for each number, and wait until it is written or lost."
    for number in numbers:
        line = json.dumps({"number": number, "text": "x" * 1500}).encode() + b"\n"
        before = len(done) + writer.dropped()
        writer.emit(line)
        wait_until(lambda: len(done) + writer.dropped() > before, timeout=10)

def writer(descriptor):
    return LineWriter(descriptor, lambda line: line, limit=100, written=done.append, name="log")
"""

FULL_DISK = r"""
filler = os.open(folder + "/filler", os.O_WRONLY | os.O_CREAT)
os.write(filler, bytes(8192))
os.close(filler)
log = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
if "stderr" in sys.argv:
    os.dup2(log, 2)
out = writer(log)
number = 0
while not out.dropped():
    emit(out, number)
    number += 1
emit(out, number, number + 1)
os.unlink(folder + "/filler")
emit(out, 1001, 1002)
out.close(10)
print(json.dumps({"full_at": number, "written": len(done), "dropped": out.dropped()}), flush=True)
os.write(1, open(folder + "/log", "rb").read())
"""

FAILURES = r"""
import resource

full = os.open("/dev/full", os.O_WRONLY)
log = os.open("/dev/full", os.O_WRONLY)
regular = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
out = writer(log)
emit(out, 1, 2, 3)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
os.dup2(regular, log)
emit(out, 4, 5)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
emit(out, 6)
os.dup2(full, log)
emit(out, 7, 8)
for _ in range(100):
    os.dup2(regular, log)
    emit(out, 9)
    os.dup2(full, log)
    emit(out, 10)
out.close(10)
"""


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def run(script, folder, *arguments, wrapper=()):
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", BEGIN + script, folder, *arguments],
        check=False,
        capture_output=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr.decode()[-1000:]
    return done


def on_a_tiny_disk(folder, *arguments):
    """Run on a file system of four pages that only this process sees; return (counts, lines)."""
    require(os.geteuid() == 0 and shutil.which("unshare"), "mounting a file system needs root")
    mount = f'mount -t tmpfs -o size=16k none {folder} && exec "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", mount, "sh")
    head, _, content = run(FULL_DISK, folder, *arguments, wrapper=wrapper).stdout.partition(b"\n")
    return json.loads(head), content


def numbers(lines):
    """Return the numbers of the lines that parse, in order."""
    found = []
    for line in lines:
        try:
            found.append(json.loads(line)["number"])
        except ValueError:
            found.append(None)
    return found


def test_a_full_disk_costs_the_torn_line_only(tmp_path):
    counts, content = on_a_tiny_disk(str(tmp_path))
    full_at = counts["full_at"]
    assert content.endswith(b"\n")
    lines = content.splitlines()
    # The first line that found no room was torn, and those after it left nothing.
    assert numbers(lines) == [*range(full_at - 1), None, 1001, 1002]
    assert lines[full_at - 1].startswith(b'{"number"')
    assert (counts["written"], counts["dropped"]) == (full_at + 1, 3)


def test_a_full_disk_that_takes_stderr_too_does_not_end_the_log(tmp_path):
    """`tracer >log 2>&1`: the complaint about the full disk cannot be written either."""
    counts, content = on_a_tiny_disk(str(tmp_path), "stderr")
    assert numbers(content.splitlines())[-2:] == [1001, 1002]
    assert counts["dropped"] == 3


def test_each_failure_is_said_once_and_again_after_a_success(tmp_path):
    errors = run(FAILURES, str(tmp_path)).stderr.decode().splitlines()
    reasons = [line.split(": ")[3].split(";")[0] for line in errors]
    assert reasons[:3] == ["No space left on device", "File too large", "No space left on device"]
    assert 3 <= len(errors) <= 6, "not once per line, however often it comes and goes"


BACKGROUND = r"""
def broken():
    calls.append(1)
    raise ValueError("x")

calls = []
log = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT)
out = LineWriter(log, lambda line: line, limit=9, background=broken, written=done.append)
for number in range(3):
    out.emit(b"%d\n" % number)
out.close(10)
assert len(calls) > 3, calls
os.write(1, open(folder + "/log", "rb").read())
"""


def test_a_failure_in_the_background_does_not_end_the_log(tmp_path):
    assert run(BACKGROUND, str(tmp_path)).stdout == b"0\n1\n2\n"


@pytest.fixture
def complaints():
    """Give (complaints at a time that can be set, what was said)."""
    now, said = [0], []
    complaints = Complaints(clock=lambda: now[0])
    complaints.say = lambda kind: complaints.failed(kind, str(kind), say=said.append)
    complaints.at = lambda seconds: now.__setitem__(0, seconds * NS)
    return complaints, said


def test_complaints_are_bounded_by_time(complaints):
    failing, said = complaints
    for second in range(600):
        failing.at(second)
        failing.say("full")
        failing.succeeded()
    assert 10 <= len(said) <= 15


def test_a_failure_that_lasts_is_said_once(complaints):
    failing, said = complaints
    for second in range(600):
        failing.at(second)
        failing.say("full")
    assert said == ["full"]


def test_stderr_may_be_anything(tmp_path):
    """Closed, full or a reader gone: complaining never raises."""
    script = r"""
from tracer.sinks.complaints import to_stderr
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
to_stderr("x")
os.close(2)
to_stderr("x")
sys.stderr = None
to_stderr("x")
print("went on")
"""
    assert run(script, str(tmp_path)).stdout == b"went on\n"
