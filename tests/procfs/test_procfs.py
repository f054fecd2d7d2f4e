"""What /proc says: parsers against any bytes, the reader against real processes."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import anybody

from tracer.errors import PermanentError
from tracer.procfs import parse
from tracer.procfs.fs import ProcFormatError, ProcFs
from tracer.procfs.wait_calls import parse_syscall

REST = b" S 1 2 3 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 9 0 777 1 1" + b" 0" * 27 + b" 35072 0 0 0"


@given(name=st.binary(min_size=0, max_size=64))
def test_any_name_leaves_the_fields_behind_it_readable(name):
    """A process chooses its name; it must not choose its state or its parent."""
    stat = parse.parse_stat(b"42 (" + name + b")" + REST)
    assert (stat.pid, stat.state, stat.ppid, stat.pgrp, stat.session) == (42, "S", 1, 2, 3)
    assert (stat.num_threads, stat.start_ticks) == (9, 777)
    assert stat.comm == name.decode("utf-8", "backslashreplace")


@given(raw=st.binary(max_size=300))
def test_garbage_raises_nothing_but_the_format_error(raw):
    for parser in (parse.parse_stat, parse.parse_status):
        with contextlib.suppress(ProcFormatError):
            parser(raw)  # any other exception fails the test


def test_numbers_of_5000_digits_are_a_format_error():
    huge = b"9" * 5000
    for parser, raw in (
        (parse.parse_stat, b"42 (x) S " + huge + REST),
        (parse.parse_stat, huge + b" (x)" + REST),
        (parse.parse_status, b"Uid:\t" + huge + b"\n"),
    ):
        with pytest.raises(ProcFormatError):
            parser(raw)
    with pytest.raises(ProcFormatError):
        parse.parse_namespace(f"pid:[{huge.decode()}]")
    assert parse_syscall(huge + b" 0x1 0x2 0x3 0x4 0x5", "x86_64") is None


@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=15),
    mask=st.integers(min_value=0, max_value=2**64 - 1),
)
def test_status_gives_namespaces_user_and_signals(name, mask):
    raw = (
        f"Name:\t{name}\nUmask:\t0022\nState:\tZ (zombie)\nTgid:\t9\nPid:\t9\nPPid:\t1\n"
        f"TracerPid:\t0\nUid:\t1234\t5\t6\t7\nNSpid:\t900\t30\t2\nThreads:\t1\n"
        f"SigBlk:\t{mask:016x}\nSigIgn:\t0000000000010000\nSigCgt:\t0000000000000000\n"
    ).encode()
    status = parse.parse_status(raw)
    assert (status.uid, status.vpids, status.vpid, status.threads) == (1234, (900, 30, 2), 2, 1)
    assert status.tracer_pid is None
    assert status.sigchld_blocked is bool(mask >> (signal.SIGCHLD - 1) & 1)
    assert (status.sigchld_ignored, status.sigchld_caught) == (True, False)


def test_lines_that_a_kernel_lacks_are_unknown():
    status = parse.parse_status(b"Name:\tx\nState:\tS\n")
    assert status == (None, (), None, None, None, None, None, ())


def test_a_root_that_is_no_proc_names_the_remedy(tmp_path):
    for root in (tmp_path, tmp_path / "missing"):
        with pytest.raises(PermanentError, match="--proc-root"):
            ProcFs(root).pids()


def test_our_own_process_is_read_whole():
    fs = ProcFs()
    process = fs.process(os.getpid())
    assert process is not None
    assert process.identity.pid == os.getpid()
    assert process.parent_pid == os.getppid()
    assert process.path == os.path.realpath(sys.executable)
    assert process.session == os.getsid(0)
    assert process.pid_namespace == os.stat("/proc/self/ns/pid").st_ino
    assert process.state == "R"
    assert fs.cmdline(os.getpid())[0]
    assert os.getpid() in fs.pids()
    assert os.getpid() in fs.threads(os.getpid())
    assert fs.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert fs.pid_max() == int(Path("/proc/sys/kernel/pid_max").read_text())
    fs.close()


def test_a_zombie_has_state_exit_status_and_namespace_but_no_program():
    fs = ProcFs()
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(137)"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    stat = fs.stat(child.pid)
    assert stat is not None
    assert stat.is_zombie
    assert stat.exit_status == 137 << 8
    assert fs.may_inspect(child.pid) is True
    assert fs.executable(child.pid) is None
    assert fs.cmdline(child.pid) == ()
    assert fs.cgroup(child.pid)
    assert child.pid in fs.children(os.getpid())
    child.wait()
    assert fs.stat(child.pid) is None
    assert fs.status(child.pid) is None
    assert fs.process(child.pid) is None
    assert fs.may_inspect(child.pid) is None
    assert fs.threads(child.pid) == []
    assert fs.children(child.pid) == []


def test_a_name_that_is_not_utf8_keeps_every_byte():
    name = b") Z (\xff\x1b[0m\n"
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(15, name + b"\0")
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    stat = ProcFs().stat(pid)
    os.waitpid(pid, 0)
    assert stat is not None
    assert stat.comm == ") Z (\\xff\x1b[0m\n"
    assert stat.is_zombie


def test_refusal_is_not_vanishing():
    """Without ptrace rights the exit status reads 0, and may_inspect() says so."""
    if os.getuid() != 0:
        pytest.skip("needs root to become somebody else")
    code = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from tracer.procfs.fs import ProcFs\n"
        "fs = ProcFs(); p = fs.process(1)\n"
        "print(fs.may_inspect(1), p.path, p.pid_namespace, fs.refused > 0, p.identity.pid)"
    )
    done = subprocess.run(
        [anybody.PYTHON, "-c", code],
        env=anybody.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "None", "None", "True", "1"]


def test_long_lists_are_read_to_the_end():
    child = subprocess.Popen(
        [sys.executable, "-c", "input()", *map(str, range(20000))], stdin=subprocess.PIPE
    )
    try:
        fs = ProcFs()
        deadline = time.monotonic() + 5
        while len(fs.cmdline(child.pid)) != 20003 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert fs.cmdline(child.pid)[-1] == "19999"
    finally:
        child.communicate(b"\n")
