"""The command line under bad input and failures: one line, the right status, no traceback."""

import contextlib
import errno
import fcntl
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.agent import TRACER, agent, environment, tracer
from support.kernel import require
from support.schema import parse_lines
from support.zombies import wait_until, zombies

from tracer.cli import main

NOBODY = ("setpriv", "--reuid", "65534", "--clear-groups")
QUIET = ("--no-kubernetes", "--state-dir", "none")
NO_BTF = (
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /sys/kernel/btf && exec "$@"',
    "sh",
)

COMMANDS = ("scan", "explain", "emulate", "doctor")

BAD = [
    # arguments, variables, status, what the line must name, and part of the remedy
    (["--min-age", "soon"], {}, 2, "'soon'", "500ms"),
    (["--min-age", ""], {}, 2, "--min-age", "500ms"),
    (["--min-age=-1s"], {}, 2, "'-1s'", "500ms"),
    (["--min-age"], {}, 2, "--min-age", "--help"),
    (["--source", "kprobe"], {}, 2, "'kprobe'", "auto, core, bcc, proc"),
    (["--log-level", "loud"], {}, 2, "'loud'", "debug, info"),
    (["--map-entries", "15"], {}, 2, "'15'", "16 to"),
    (["--map-entries", "many"], {}, 2, "'many'", "16 to"),
    (["--metrics-address", "9464"], {}, 2, "'9464'", ":9464"),
    (["--metrics-address", "127.0.0.1:99999"], {}, 2, "99999", ":9464"),
    (["--selector", "app=("], {}, 2, "'app=('", "app=web"),
    (["--kubeconfig", "/nowhere"], {}, 2, "/nowhere", "--no-kubernetes"),
    (["--output", "json"], {}, 2, "--output", "--follow"),
    (["--follow", "--output", "xml"], {}, 2, "'xml'", "text or json"),
    (["--colour"], {}, 2, "--colour", "--help"),
    (["--min=1s"], {}, 2, "--min", "--help"),
    (["reap"], {}, 2, "'reap'", "'scan'"),
    (["--min-age", "1s", "scan"], {}, 2, "tracer scan", "after its name"),
    (["scan", "4711"], {}, 2, "4711", "--help"),
    (["scan", "--output", "xml"], {}, 2, "'xml'", "table, wide, json"),
    (["scan", "--by", "moon"], {}, 2, "'moon'", "parent, zombie, pod"),
    (["scan", "--min-age", "1x"], {}, 2, "'1x'", "500ms"),
    (["explain"], {}, 2, "PID", "--help"),
    (["explain", "init"], {}, 2, "'init'", ""),
    (["emulate", "--cause", "boredom"], {}, 2, "'boredom'", "parent_never_waits"),
    (["emulate", "--count", "-1"], {}, 2, "-1", ""),
    (["doctor", "--output", "xml"], {}, 2, "'xml'", "json"),
    (["--follow", "--proc-root", "/nowhere"], {}, 3, "/nowhere", "--proc-root"),
    (["scan", "--proc-root", "/etc/passwd"], {}, 3, "/etc/passwd", "--proc-root"),
    ([], {"TRACER_MIN_AGE": "soon"}, 2, "TRACER_MIN_AGE: 'soon'", "500ms"),
    (["scan"], {"TRACER_SOURCE": "kprobe"}, 2, "TRACER_SOURCE 'kprobe'", "auto, core"),
    ([], {"TRACER_PODS_ONLY": "perhaps"}, 2, "TRACER_PODS_ONLY='perhaps'", "true nor false"),
    ([], {"TRACER_MAP_ENTRIES": "0"}, 2, "TRACER_MAP_ENTRIES '0'", "16 to"),
    ([], {"TRACER_SELECTOR": "!"}, 2, "'!'", "app=web"),
]  # fmt: skip


def one_line(done, status):
    """Check that a command ended with this status and one line on stderr; return the line."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("tracer: error: ")
    assert "Traceback" not in line
    return line


def stopped(done):
    """Check that an agent ended with status 3 and one agent_stopped line; return its reason."""
    assert (done.returncode, done.stderr) == (3, "")
    [line] = parse_lines(done.stdout)
    assert (line["event"], line["level"]) == ("agent_stopped", "error")
    assert "Traceback" not in line["source"]["reason"]
    return line["source"]["reason"]


@pytest.mark.parametrize(
    ("arguments", "variables", "status", "named", "remedy"),
    BAD,
    ids=[" ".join([*arguments, *variables]) for arguments, variables, *_ in BAD],
)
def test_bad_input_is_named_with_its_remedy(
    arguments, variables, status, named, remedy, capsys, monkeypatch
):
    """In this process, since each ends before anything is attached or started."""
    for name in [name for name in os.environ if name.startswith("TRACER_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code = main(arguments)
    said = capsys.readouterr()
    line = one_line(SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err), status)
    assert named in line
    assert remedy in line


def test_a_process_ends_with_that_status():
    line = one_line(tracer("--min-age", "soon"), 2)
    assert "'soon'" in line


@pytest.mark.parametrize("root", ["/nowhere", "/etc"])
def test_an_agent_that_cannot_run_says_so_in_its_log(root):
    """Nothing on stderr: whoever collects the log gets the reason and the remedy."""
    reason = stopped(tracer("--proc-root", root, *QUIET))
    assert root in reason
    assert "--proc-root" in reason
    assert stopped(tracer("--follow", "-o", "json", "--proc-root", root, *QUIET)) == reason


def test_an_unexpected_error_is_one_line_to_file(capsys, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "two\nlines")

    monkeypatch.setattr("tracer.commands.doctor.run_checks", fail)
    monkeypatch.setattr("tracer.cli._OUTPUT_ERRORS", frozenset())
    assert main(["doctor"]) == 3
    line = capsys.readouterr().err
    assert re.fullmatch(
        r"tracer: error: internal error \(OSError at test_cli\.py:\d+: .*two lines\);"
        r" please file a bug with this line and the command you ran\n",
        line,
    )


def test_help_carries_examples():
    with ThreadPoolExecutor(2) as pool:
        helps = list(pool.map(lambda name: tracer(*name, "--help"), [(), *zip(COMMANDS)]))
    for name, done in zip(("", *COMMANDS), helps, strict=True):
        assert done.returncode == 0
        assert done.stderr == ""
        _, _, examples = done.stdout.partition("examples:")
        assert f"tracer {name}".strip() in examples, name
        assert max(map(len, done.stdout.splitlines())) < 100
    for option in ("--source", "--min-age", "--namespace", "--pods-only", "--state-dir"):
        assert option in helps[0].stdout
    for name in COMMANDS:
        assert f"tracer {name}" in helps[0].stdout


def test_version():
    done = tracer("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"tracer \d+\.\d+\.\d+\S*\n", done.stdout)
    script = shutil.which("tracer", path=os.path.dirname(TRACER[0]))
    assert script, "the entry point is installed beside this Python"
    installed = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert installed.stdout == done.stdout


@pytest.mark.kernel
@pytest.mark.parametrize(("arguments", "seconds"), [((), 10), (("--follow", "-o", "json"), 3)])
def test_the_default_minimum_age_is_the_one_in_the_help(arguments, seconds):
    assert "(default 10s, with --follow 3s)" in " ".join(tracer("--help").stdout.split())
    with agent(*arguments, *QUIET) as running:
        assert running.started()["settings"]["min_age_seconds"] == seconds


# --- where it cannot run ------------------------------------------------------------------


OPENED = """
mount --bind "$1" /mnt
mount -t tmpfs -o mode=755 none "$2"
mkdir -p "$1"
mount --move /mnt "$1"
shift 2
exec "$@"
"""
"""The checkout at its own path, in a mount namespace where no folder above it is closed."""


def as_nobody():
    """Return what makes a command somebody else's, wherever the checkout lies."""
    require(os.geteuid() == 0, "becoming somebody else needs root")
    checkout = Path(__file__).parents[2]
    above = [folder for folder in reversed(checkout.parents) if not folder.stat().st_mode & 0o001]
    if not above:
        return NOBODY
    opened = ("unshare", "--mount", "sh", "-ec", OPENED, "sh", str(checkout), str(above[0]))
    return (*opened, *NOBODY)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("explain", "000000000001" + "9" * 5000), "PID '0000"),
        (("--map-entries", "9" * 5000), "--map-entries '9999"),
        (("--min-age", "9" * 5000 + "s"), "--min-age: '9999"),
        (("--metrics-address", ":" + "9" * 5000), "--metrics-address ':9999"),
        (("emulate", "--count", "1" + "0" * 5000), "--count: '1000"),
        (("emulate", "--rate", "9" * 5000), "--rate: '9999"),
        (("explain", "1", "--watch", "9" * 5000), "--watch: '9999"),
    ],
)
def test_numbers_of_5000_digits(arguments, named):
    """Python's int() refuses more than 4,300 digits with an error of its own."""
    line = one_line(tracer(*arguments), 2)
    assert named in line
    assert len(line) < 300


@pytest.mark.parametrize("command", [(), ("--follow",), ("scan",)])
@pytest.mark.parametrize("value", ["-5s", "-5", "-.5s"])
def test_a_negative_age_is_a_value_and_not_an_option(command, value):
    line = one_line(tracer(*command, "--min-age", value), 2)
    assert f"--min-age: '{value}' is not a duration (it is negative)" in line


@pytest.mark.parametrize("wrong", ["\x7f", "\x1b[2J", "\x9b2J", "\u202e"])
def test_what_a_user_wrote_is_escaped_in_an_error(wrong):
    line = one_line(tracer("--min-age", f"5{wrong}"), 2)
    assert wrong[0] not in line


def test_the_filters_are_named_when_nothing_passes():
    with zombies(2):
        done = tracer("scan", "--source", "proc", "-n", "typo\x1b", *QUIET)
    assert done.returncode == 0
    assert re.fullmatch(
        r"no zombies in namespace typo\\x1b \([1-9][0-9]* elsewhere\)", done.stderr.strip()
    )


def test_creation_time_is_the_same_in_every_run_and_with_every_source():
    with zombies(1) as family:
        pid = family.pids[0]

        def created(source):
            done = tracer("scan", "-o", "json", "--source", source, *QUIET)
            require(source == "proc" or done.returncode != 3, done.stderr)
            found = {one["process"]["pid"]: one["process"] for one in json.loads(done.stdout)}
            return found[pid]["creation"]["time"]

        with ThreadPoolExecutor(4) as pool:
            times = set(pool.map(created, ["proc"] * 26 + ["core"] * 4))
    assert len(times) == 1, times


ASCII = ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "LANG": "C.UTF-8"})


@pytest.mark.parametrize("variables", ASCII, ids=str)
def test_output_that_takes_ascii_only(variables):
    with zombies(1, comm="caf\u00e9 \u2026") as family:
        pid = str(family.pids[0])
        for command in (
            ("scan", "--source", "proc", "--by", "zombie", "-o", "wide"),
            ("scan", "--source", "proc", "-o", "json"),
            ("explain", pid, "--source", "proc", "--watch", "0s"),
            ("--help",),
        ):
            where = () if command == ("--help",) else ("--no-kubernetes",)
            done = tracer(*command, *where, env=variables)
            assert (done.returncode, done.stdout.isascii()) == (0, True), done.stderr
            if "json" in command:
                names = [one["process"]["executable"]["name"] for one in json.loads(done.stdout)]
                assert any(name.startswith("caf") for name in names)


def test_without_root():
    nobody = as_nobody()
    line = one_line(tracer("--follow", "--source", "core", *QUIET, wrapper=nobody), 3)
    reason = stopped(tracer("--source", "core", *QUIET, wrapper=nobody))
    assert reason.partition("libbpf")[0] in line
    assert reason.startswith("needs root: sudo tracer")
    assert "CAP_BPF" in reason
    assert "needs root" in stopped(tracer("--source", "bcc", *QUIET, wrapper=nobody))
    with zombies(2) as family:
        done = tracer("scan", "--source", "proc", "-o", "json", *QUIET, wrapper=nobody)
        assert (done.returncode, done.stderr) == (0, "")
        found = {one["process"]["pid"]: one for one in json.loads(done.stdout)}
        for pid in family.pids:
            # Without ptrace rights the kernel shows 0 in place of the exit status.
            assert found[pid]["process"]["exit"]["code"] is None
    fallen_back = tracer("scan", "-o", "json", *QUIET, wrapper=nobody)
    assert fallen_back.returncode == 0
    [why] = fallen_back.stderr.splitlines()
    assert re.fullmatch("tracer: needs root: sudo tracer …; .*; proc works", why)
    assert "libbpf" not in why


@pytest.mark.kernel
def test_without_btf():
    line = stopped(tracer("--source", "core", *QUIET, wrapper=NO_BTF))
    assert "/sys/kernel/btf/vmlinux" in line
    assert "--source bcc or proc" in line
    with agent(*QUIET, wrapper=NO_BTF) as running:
        source = running.started()["source"]
        assert source["name"] in ("bcc", "proc")
        assert "BTF" in source["reason"]


LEAVES_ONE = """
import os, sys, time
pid = os.fork()
pid or os._exit(5)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
open(sys.argv[1], "w").write(f"{pid} {os.getpid()}")
time.sleep(60)
"""


@pytest.mark.kernel
@pytest.mark.parametrize("source", ["core", "proc"])
def test_in_a_pid_namespace_of_its_own(tmp_path, source):
    """It sees what /proc shows there, by the pids that people have there."""
    said = tmp_path / "said"
    begin = f'"$0" -c "$1" {said} & shift; while [ ! -s {said} ]; do sleep 0.02; done; exec "$@"'
    unshare = ("unshare", "--pid", "--fork", "--mount-proc")
    wrapper = (*unshare, "sh", "-c", begin, TRACER[0], LEAVES_ONE)
    done = tracer("scan", "--source", source, "-o", "json", *QUIET, wrapper=wrapper)
    assert done.returncode == 0, done.stderr
    [one] = json.loads(done.stdout)
    pid, parent = map(int, said.read_text().split())
    assert (one["process"]["pid"], one["parent"]["pid"]) == (pid, parent)
    assert one["process"]["exit"]["code"] == 5


@pytest.mark.kernel
def test_a_second_agent_names_the_first(tmp_path):
    options = ("--no-kubernetes", "--state-dir", tmp_path / "state")
    with agent(*options) as first:
        line = stopped(tracer(*options))
        assert f"pid {first.process.pid}" in line
        assert "tracer --follow" in line
        # Looking on is not a second agent.
        assert tracer("scan", *options).returncode == 0
        with agent("--follow", "-o", "json", *options) as onlooker:
            assert onlooker.stop() == 0
        assert first.stop() == 0
    with agent(*options) as next_one:
        assert next_one.stop(signal.SIGKILL) == -signal.SIGKILL
    with agent(*options) as after_kill:
        assert after_kill.stop() == 0


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        line = stopped(tracer("--metrics-address", address, *QUIET))
        assert address in line
        assert os.strerror(errno.EADDRINUSE) in line


@pytest.mark.kernel
def test_a_state_folder_that_cannot_be_made_does_not_stop_the_agent(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with agent("--no-kubernetes", "--state-dir", tmp_path / "file") as running:
        assert running.stop() == 0
        assert running.errors == ""
        lines = running.events("agent_message")
        assert lines
        for line in lines:
            assert line["level"] == "warning"
            assert "--state-dir" in line["message"]


# --- where its output goes ----------------------------------------------------------------


def shell(line, timeout=60):
    """Run a shell line in which $TRACER is our command; return its outcome."""
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(TRACER=" ".join(TRACER), QUIET=" ".join(QUIET)),
    )


@pytest.mark.kernel
@pytest.mark.parametrize("command", ["", "--follow", "--follow -o json", "scan", "scan -o json"])
def test_a_reader_that_has_enough_ends_it_quietly(command):
    """`| head -1`: status 0, nothing on stderr, and soon, though no zombie comes."""
    with zombies(3):
        done = shell(f"$TRACER {command} $QUIET | head -1")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_help_for_a_reader_that_has_enough():
    done = shell("$TRACER --help | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.kernel
@pytest.mark.parametrize("command", ["", "--follow", "scan -o json"])
def test_a_reader_that_never_read(command):
    """It is gone before the agent has begun."""
    done = shell(f"$TRACER {command} $QUIET | true")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@pytest.mark.kernel
@pytest.mark.parametrize("command", ["", "--follow", "scan -o json"])
def test_closed_streams(command):
    """`>&-`: the output cannot be written, and nothing that would be lost has begun."""
    done = shell(f"$TRACER {command} $QUIET >&- <&-")
    assert "standard output is closed" in one_line(done, 3)
    assert done.stdout == ""
    done = shell(f"$TRACER {command} $QUIET >&- 2>&-")
    assert (done.returncode, done.stderr, done.stdout) == (3, "", "")
    done = shell("$TRACER --min-age soon 2>&-")
    assert (done.returncode, done.stderr, done.stdout) == (2, "", "")


@pytest.mark.kernel
def test_a_full_disk():
    done = shell("$TRACER scan -o json $QUIET >/dev/full")
    assert os.strerror(errno.ENOSPC) in one_line(done, 3)
    done = shell("$TRACER --version >/dev/full")
    assert os.strerror(errno.ENOSPC) in one_line(done, 3)


@pytest.mark.kernel
def test_a_reader_that_stands_still():
    """A full pipe delays neither detection, which /metrics shows, nor the end for long."""
    port = free_port()
    # Long names fill the pipe sooner; no storm, so that every zombie is a line.
    process = subprocess.Popen(
        [*TRACER, "--min-age", "200ms", "--metrics-address", f"127.0.0.1:{port}", *QUIET],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
        with zombies(60) as family:
            wait_until(lambda: detected(port) >= 60, timeout=60, what="detection")
            before = detected(port)
            family.spawn(10)
            began = time.monotonic()
            wait_until(lambda: detected(port) >= before + 10, timeout=60, what="detection")
            assert time.monotonic() - began < 30
            process.terminate()
            began = time.monotonic()
            assert process.wait(60) == 0
            assert time.monotonic() - began < 15, "it takes 5 s to give up, and some for load"
    finally:
        process.kill()
        out, errors = process.communicate()
    assert b"Traceback" not in errors
    # What came out before the reader stood still is whole lines but for the last.
    parse_lines(out[: out.rfind(b"\n") + 1])


def free_port():
    """Return a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def detected(port):
    """Return how many zombies an agent's metrics count as detected."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    except ConnectionError:
        return 0
    found = re.findall(r"^zombie_tracer_detected_total{.*} ([\d.e+]+)$", answer, re.MULTILINE)
    return sum(map(float, found))


# --- signals ------------------------------------------------------------------------------


@pytest.mark.kernel
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_flight(number):
    """The last line is agent_stopped and says why; all that was detected is out before it."""
    with agent("--min-age", "300ms", *QUIET) as running, zombies(50) as family:
        running.lines_of(family.pids[:1])
        assert running.stop(number) == 0
        assert running.lines[-1]["event"] == "agent_stopped"
        assert running.lines[-1]["source"]["reason"] == signal.Signals(number).name
        found = [line["process"]["pid"] for line in running.events("zombie_detected")]
        assert len(found) == len(set(found))
        assert running.errors == ""


@pytest.mark.kernel
def test_many_signals_at_once():
    with agent(*QUIET) as running:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with contextlib.suppress(ProcessLookupError):
                running.process.send_signal(number)
        assert running.stop() == 0
        assert "Traceback" not in running.errors
        assert running.lines[-1]["event"] == "agent_stopped"


# --- the live view ------------------------------------------------------------------------


@contextlib.contextmanager
def terminal(*arguments, columns):
    """Run `tracer` on a terminal of its own; yield its process, a resize() and a read()."""
    leader, follower = pty.openpty()
    seen = bytearray()
    resize(leader, columns)
    process = subprocess.Popen(
        [*TRACER, *arguments],
        env=environment(TERM="xterm-256color"),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one call
    )
    os.close(follower)
    os.set_blocking(leader, False)

    def read():
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(leader, 65536):
                seen.extend(data)
        return seen.decode()

    try:
        yield process, leader, read
    finally:
        process.kill()
        process.wait()
        os.close(leader)


def resize(leader, columns):
    """Change the size of a terminal, which signals SIGWINCH to who is on it."""
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def plain(text):
    """Return what a terminal shows, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r\n", "\n")


@pytest.mark.kernel
def test_a_terminal_is_resized_and_ctrl_c_ends_it():
    """Lines fit the width that the terminal has when they come; Ctrl-C leaves no traceback."""
    options = ("--follow", "--min-age", "100ms", *QUIET)
    with terminal(*options, columns=100) as (process, leader, read), zombies(0) as family:
        wait_until(lambda: "source" in plain(read()), timeout=60, what="the first line")
        [first] = family.spawn(1, comm="wide-one")
        wait_until(lambda: f"{first}" in plain(read()), timeout=60, what="a zombie")
        resize(leader, 70)
        wide = len(plain(read()))
        [second] = family.spawn(1, comm="narrow-one")
        wait_until(lambda: f"{second}" in plain(read())[wide:], timeout=60, what="another")
        os.write(leader, b"\x03")
        assert process.wait(60) == 0
        shown = plain(read()).replace("^C", "\n")  # its echo
        assert "Traceback" not in shown
        assert max(map(len, shown[:wide].splitlines())) < 100
        rest = shown[shown.index(f" {second} ") :].splitlines()[1:]
        assert rest
        assert [line for line in rest if len(line) >= 70] == []


# --- the environment ----------------------------------------------------------------------


@pytest.mark.kernel
def test_every_option_can_be_a_variable(tmp_path):
    """The command line wins over the variable, and the variable over the default."""
    variables = {
        "TRACER_SOURCE": "proc",
        "TRACER_MIN_AGE": "1m30s",
        "TRACER_STATE_DIR": str(tmp_path / "state"),
        "TRACER_NO_KUBERNETES": "true",
        "TRACER_NODE_NAME": "from-variable",
        "TRACER_PODS_ONLY": "yes",
        "TRACER_NAMESPACE": "shop,bank",
        "NODE_NAME": "from-the-manifest",
    }
    with agent(env=variables) as running:
        line = running.started()
        assert line["source"]["name"] == "proc"
        assert line["settings"]["min_age_seconds"] == 90
        assert line["settings"]["state_dir"] == str(tmp_path / "state")
        assert line["settings"]["pods_only"] is True
        assert line["kubernetes"]["access"] == "--no-kubernetes"
        assert line["k8s"]["node"]["name"] == "from-variable"
    arguments = ("--source", "core", "--min-age", "2s", "--node-name", "given")
    with agent(*arguments, env=variables) as running:
        line = running.started()
        assert line["source"]["name"] == "core"
        assert line["settings"]["min_age_seconds"] == 2
        assert line["k8s"]["node"]["name"] == "given"
    del variables["TRACER_NODE_NAME"]
    done = tracer("scan", "-o", "json", "--exit-code", env=variables)
    assert done.returncode == 0
    assert json.loads(done.stdout) == []
