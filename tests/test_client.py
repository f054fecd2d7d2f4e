"""The thin client, as a process, against the agent's server: what it prints, when it ends."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest
from support.agent import environment
from support.serving import DEADLINE_SECONDS, serving
from support.zombies import wait_until

import tracer
from tracer import client
from tracer.agent.serve.client import ClientGone
from tracer.protocol import SOCKET

ANONYMOUS_KB = 5_000


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


class Endless:
    """A command without an end, as --follow is."""

    def __init__(self):
        self.gone = threading.Event()

    def __call__(self, request, connected):
        connected.on_gone = self.gone.set
        connected.out("begun\n")


def command(folder, *arguments, code="pass", python=(sys.executable,)):
    script = f"{code}; import sys; from tracer.client import main; sys.exit(main())"
    return [*python, "-c", script, *arguments, "--state-dir", str(folder)]


def run(folder, *arguments, **options):
    return subprocess.run(
        command(folder, *arguments),
        env=environment(**options),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )


@contextlib.contextmanager
def started(
    folder, *arguments, code="pass", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **more
):
    process = subprocess.Popen(
        command(folder, *arguments, code=code, **more),
        env=environment(),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                stream.close()


def test_it_prints_what_the_agent_says(folder):
    def handle(request, connected):
        connected.out(f"{request.command} {' '.join(request.arguments[:3])}\n")
        connected.err("a note ∅\n")
        connected.out(f"{request.environment['TRACER_POD']} {request.environment['NO_COLOR']}\n")
        return 5

    with serving(folder, handle):
        done = run(folder, "scan", "--by", "pod", TRACER_POD="web-1", NO_COLOR="1", SECRET="x")
    assert done.returncode == 5
    assert done.stdout == "scan scan --by pod\nweb-1 1\n"
    assert done.stderr == "a note ∅\n"


def test_much_output_arrives_whole(folder):
    def handle(_request, connected):
        for number in range(50):
            connected.out(f"{number:05d}" * 10_000)
        return 0

    with serving(folder, handle):
        done = run(folder, "scan")
    assert done.stdout == "".join(f"{number:05d}" * 10_000 for number in range(50))


def test_a_reader_that_leaves_ends_it(folder):
    """`tracer --follow | head -1`, also when no more output comes."""
    endless = Endless()
    with serving(folder, endless), started(folder, "--follow") as process:
        assert process.stdout.readline() == "begun\n"
        process.stdout.close()
        assert process.wait(DEADLINE_SECONDS) == 0
        assert endless.gone.wait(DEADLINE_SECONDS)


@pytest.mark.parametrize(
    ("arguments", "number", "status"),
    [
        (["--follow"], signal.SIGINT, 0),
        (["--follow"], signal.SIGTERM, 0),
        (["--follow"], signal.SIGHUP, 0),
        (["scan"], signal.SIGINT, 130),
        (["scan"], signal.SIGTERM, -signal.SIGTERM),
        (["--follow"], signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_signal_ends_it_and_the_agent_notices(folder, arguments, number, status):
    endless = Endless()
    with serving(folder, endless), started(folder, *arguments) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait(DEADLINE_SECONDS) == status
        assert process.stderr.read() == ""
        assert endless.gone.wait(DEADLINE_SECONDS)


def test_the_end_of_stdin_ends_it_if_it_was_asked_to(folder):
    endless = Endless()
    options = ("--follow", "--exit-with-stdin")
    with serving(folder, endless), started(folder, *options, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "begun\n"
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdin.close()
        assert process.wait(DEADLINE_SECONDS) == 0
        assert endless.gone.wait(DEADLINE_SECONDS)


def test_silence_on_stdin_ends_it_if_it_was_asked_to(folder):
    """A lost connection brings no end of file: the heartbeat stops."""
    endless = Endless()
    soon = "from tracer import protocol; protocol.HEARTBEAT_SECONDS = 1"
    options = ("--follow", "--exit-with-stdin")
    with (
        serving(folder, endless),
        started(folder, *options, code=soon, stdin=subprocess.PIPE) as process,
    ):
        assert process.stdout.readline() == "begun\n"
        assert process.wait(DEADLINE_SECONDS) == 0


def test_silence_ends_it_although_its_reader_has_stalled(folder):
    """The other end of a lost connection does not read any more, either."""
    soon = "from tracer import protocol; protocol.HEARTBEAT_SECONDS = 1"

    def handle(_request, connected):
        with contextlib.suppress(ClientGone):
            while True:
                connected.out("x" * 10_000)

    options = ("scan", "--exit-with-stdin")
    with (
        serving(folder, handle),
        started(folder, *options, code=soon, stdin=subprocess.PIPE) as process,
    ):
        assert process.wait(DEADLINE_SECONDS) == 130


def test_without_the_option_stdin_does_not_matter(folder):
    endless = Endless()
    with serving(folder, endless), started(folder, "--follow") as process:
        assert process.stdout.readline() == "begun\n"
        assert not endless.gone.wait(0.5)
        assert process.poll() is None


def test_the_end_of_the_agent_is_said(folder):
    with serving(folder, Endless()) as server, started(folder, "--follow") as process:
        assert process.stdout.readline() == "begun\n"
        server.close()
        assert process.wait(DEADLINE_SECONDS) == 3
        [line] = process.stderr.read().splitlines()
        assert "has stopped" in line


def test_a_new_width_is_sent(folder):
    """SIGWINCH, as a terminal's emulator has it sent."""
    import fcntl
    import pty
    import struct
    import termios

    widths = []

    def handle(request, connected):
        widths.append(request.columns)
        connected.on_line = widths.append

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    try:
        with serving(folder, handle), started(folder, "--follow", stdout=slave) as process:
            wait_until(lambda: widths, timeout=DEADLINE_SECONDS)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 132, 0, 0))
            process.send_signal(signal.SIGWINCH)
            wait_until(lambda: len(widths) == 2, timeout=DEADLINE_SECONDS)
    finally:
        os.close(master)
        os.close(slave)
    assert widths == [80, b'{"columns": 132}']


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--min-age", "5s"],
        ["doctor"],
        ["emulate", "--follow"],
        ["--version"],
        ["scan", "--help"],
        ["scan", "--source", "proc"],
        ["scan", "--source=core"],
        ["scan", "--kubeconfig=/etc/kubeconfig"],
        ["explain", "1", "--no-kubernetes"],
        ["--follow", "--proc-root", "/proc"],
        ["scan", "--state-dir", "none"],
        ["scan", "--state-dir=none"],
    ],
)
def test_what_is_not_for_the_agent_is_not_asked_there(arguments, monkeypatch):
    monkeypatch.delenv("TRACER_STATE_DIR", raising=False)
    monkeypatch.setattr(client, "_connect", lambda _: pytest.fail("asked the agent"))
    assert client.ask(arguments) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "variable", "path"),
    [
        (["scan"], None, "/run/zombie-tracer/agent.sock"),
        (["scan", "--source", "auto"], "/state", "/state/agent.sock"),
        (["scan"], "none", None),
        (["explain", "1", "--state-dir", "/a"], "/b", "/a/agent.sock"),
        (["-n", "shop", "--follow", "--state-dir=/a"], None, "/a/agent.sock"),
        (["--state-dir", "/a", "-f"], "none", "/a/agent.sock"),
    ],
)
def test_where_it_asks(arguments, variable, path, monkeypatch):
    asked = []
    monkeypatch.setattr(client, "_connect", lambda path: asked.append(path) or "No such file")
    monkeypatch.delenv("TRACER_STATE_DIR", raising=False)
    if variable is not None:
        monkeypatch.setenv("TRACER_STATE_DIR", variable)
    status, why = client.ask(arguments)
    assert status is None
    assert asked == ([] if path is None else [path])
    assert why == (None if path is None else f"no agent answered at {path} (No such file)")


def test_an_agent_of_another_version_is_not_asked_again(folder):
    """It says why, and the command then runs in the client's own process."""
    code = (
        "from tracer import cli, protocol; protocol.VERSION = 9;"
        "cli.main = lambda arguments, no_agent: print(arguments[0], no_agent) or 4"
    )
    with serving(folder, Endless()), started(folder, "scan", code=code) as process:
        # The agent of this test shares no memory with the client: it still speaks version 1.
        assert process.stdout.readline() == "scan None\n"
        assert process.wait(DEADLINE_SECONDS) == 4
        [line] = process.stderr.read().splitlines()
        assert "version 1" in line


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment as the image has it: `tracer` as pip installs it, nothing editable."""
    root = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    python = root / "bin/python"
    libraries = Path(sysconfig.get_path("purelib", vars={"base": str(root)}))
    shutil.copytree(
        Path(tracer.__file__).parent,
        libraries / "tracer",
        ignore=shutil.ignore_patterns("_objects", "headers", "__pycache__"),
    )
    subprocess.run([python, "-m", "compileall", "-q", libraries], check=True)
    # pip's own template for console scripts.
    script = root / "bin/tracer"
    script.write_text(
        f"#!{python}\n# -*- coding: utf-8 -*-\nimport re\nimport sys\n"
        "from tracer.client import main\nif __name__ == '__main__':\n"
        "    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])\n"
        "    sys.exit(main())\n"
    )
    script.chmod(0o755)
    return script


@pytest.mark.parametrize(
    "arguments", [["scan"], ["explain", "1"], ["--follow", "--exit-with-stdin"]]
)
def test_it_takes_little_memory(folder, installed, arguments):
    """The agent's container pays for it: at most 5 MB of anonymous memory each."""
    endless = Endless()
    with (
        serving(folder, endless),
        subprocess.Popen(
            [installed, *arguments, "--state-dir", folder],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout.readline() == "begun\n"
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
            anonymous = int(re.search(r"^Anonymous:\s+(\d+) kB", rollup, re.MULTILINE)[1])
        finally:
            process.kill()
    print(f"{arguments}: {anonymous} kB")
    assert anonymous < ANONYMOUS_KB


def test_the_console_script_is_the_thin_one():
    """pyproject.toml names the module that the test above measures."""
    text = (Path(tracer.__file__).parents[1] / "pyproject.toml").read_text()
    assert 'tracer = "tracer.client:main"' in text


def test_the_socket_s_name_is_the_one_in_the_docs():
    assert SOCKET == "agent.sock"
