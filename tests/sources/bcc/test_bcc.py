"""The bcc source's own: layouts, and what it leaves alone. What it sees is in tests/conformance."""

import os
import re
import struct
import subprocess
from pathlib import Path

import pytest
from support import anybody
from support.kernel import require

from tracer.clock import NS, boot_ns
from tracer.diagnosis.parent import Parents
from tracer.errors import PermanentError
from tracer.model import Losses
from tracer.procfs.fs import ProcFs
from tracer.sources.bcc import load
from tracer.sources.bcc.source import BccSource

C_TYPES = {"u64": "Q", "u32": "I", "char": "s"}


def c_layout(name):
    """Return the struct format of a struct in the C program."""
    program = load.SOURCE.read_text()
    body = re.search(rf"^struct {name} {{\n(.*?)^}};", program, re.MULTILINE | re.DOTALL)[1]
    members = re.findall(r"^\t(\w+) (\w+)(?:\[(\w+)\])?;", body, re.MULTILINE)
    sizes = {"COMM_BYTES": "16"}
    return "=" + "".join(sizes.get(size, size) + C_TYPES[kind] for kind, _, size in members)


@pytest.mark.parametrize("name", ["birth", "reported", "gone", "waits"])
def test_python_mirrors_the_structs_of_the_program(name):
    ours = getattr(load, name.upper())
    theirs = struct.Struct(c_layout(name))
    assert ours.size == theirs.size
    assert ours.size % 8 == 0, "the compiler would pad it"
    sample = bytes(range(1, ours.size + 1))
    assert ours.unpack(sample) == theirs.unpack(sample)


def test_python_mirrors_the_counters():
    program = load.SOURCE.read_text()
    names = re.search(r"enum counter { (.*), COUNTERS };", program)[1].split(", ")
    assert [getattr(load, name) for name in names] == list(range(len(names)))


def test_headers_are_ours_alone_and_ship_with_the_package():
    """The stub tree must suffice where no header of any kind is installed."""
    included = re.compile(rb"^\s*#\s*include", re.MULTILINE)
    files = [path for path in load.HEADERS.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if included.search(path.read_bytes())]
    assert not [path for path in [*files, load.SOURCE] if path.is_symlink()]


RUN = """
import os, sys
from tracer.clock import NS
from tracer.errors import PermanentError
from tracer.procfs.fs import ProcFs
from tracer.sources.bcc.source import BccSource
before = os.getcwd(), dict(os.environ), os.path.ismount("/sys/kernel/tracing")
source = BccSource(ProcFs(), NS)
try:
    source.start()
except PermanentError as error:
    sys.exit(f"PermanentError: {error}")
assert before == (os.getcwd(), dict(os.environ), os.path.ismount("/sys/kernel/tracing"))
source.close()
source.close()
print("started")
"""


def run(*, prefix=(), **more):
    return subprocess.run(
        [*prefix, anybody.PYTHON, "-c", RUN],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=anybody.environment(**more),
    )


@pytest.mark.kernel
def test_the_process_is_as_before_once_it_is_attached():
    require(os.getuid() == 0, "loading a bcc program needs root")
    done = run()
    assert (done.stdout, done.stderr, done.returncode) == ("started\n", "", 0)


@pytest.mark.kernel
def test_without_rights_one_line_says_what_to_do():
    require(os.getuid() == 0, "needs root to become somebody else")
    done = run(prefix=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert done.returncode == 1
    assert done.stderr.startswith("PermanentError: ")
    assert "root" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.kernel
def test_without_bcc_one_line_says_what_to_install(tmp_path):
    (tmp_path / "bcc.py").write_text("raise ImportError('not here')\n")
    done = run(PYTHONPATH=f"{tmp_path}:{anybody.published()}")
    assert done.returncode == 1
    assert "python3-bpfcc" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.kernel
def test_a_compiler_error_is_in_the_one_line():
    require(os.getuid() == 0, "loading a bcc program needs root")
    with pytest.raises(PermanentError, match=r"main\.c:\d+:\d+: error: expected") as caught:
        load.load(1024, 1024, clocks=("]",))
    assert "\n" not in str(caught.value)


@pytest.mark.kernel
def test_a_kernel_without_the_boot_clock_helper_gets_the_other_clock():
    require(os.getuid() == 0, "loading a bcc program needs root")
    program = load.load(1024, 1024, clocks=("no_such_helper", "bpf_ktime_get_ns"))
    try:
        assert program.monotonic
        assert program.clock == "bpf_ktime_get_ns"
    finally:
        program.bpf.cleanup()


def test_another_pid_namespace_is_refused(tmp_path):
    """The program's pids are the host's; another /proc would name other processes."""
    (tmp_path / "stat").write_text("cpu 1\n")
    (tmp_path / "1/ns").mkdir(parents=True)
    Path(tmp_path / "1/ns/pid").symlink_to("pid:[4026532000]")
    with pytest.raises(PermanentError, match="hostPID"):
        BccSource(ProcFs(tmp_path), NS).start()


@pytest.mark.kernel
@pytest.mark.parametrize("hook", ["fork", "exit", "free", "wait"])
def test_a_skipped_run_of_any_hook_is_counted_where_it_matters(hook):
    """Skipped waits leave the diagnosis unsure; skipped frees are made up for by reading /proc."""
    require(os.getuid() == 0, "loading a bcc program needs root")
    names = []

    def read(descriptor):
        skipped = names and names[descriptors.index(descriptor)] == hook
        return b"recursion_misses:\t%d\n" % (3 if skipped else 0)

    source = BccSource(ProcFs(), NS, read_fdinfo=read)
    try:
        source.start()
        functions = source._program.bpf.funcs
        descriptors = [one.fd for one in functions.values()]
        source.poll(boot_ns())
        assert source.losses() == Losses()
        names = [name.decode().rpartition("_")[2] for name in functions]
        source.poll(boot_ns() + 2 * NS)
        losses = source.losses()
        counts = {
            "fork": losses.forks_lost,
            "exit": losses.recursion_misses,
            "free": 0,
            "wait": losses.waits_skipped,
        }
        assert counts == dict.fromkeys(counts, 0) | ({hook: 3} if hook != "free" else {})
        complete = Parents(ProcFs(), source, cgroup_root=Path("/")).view(1, boot_ns()).complete
        assert complete == (hook != "wait")
    finally:
        source.close()
