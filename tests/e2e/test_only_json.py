"""Whatever goes wrong: the agent writes valid lines to stdout and nothing to stderr."""

import os
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from support.agent import agent, environment, tracer
from support.kernel import require
from support.schema import parse_lines
from support.zombies import wait_until

PROC = ("--source", "proc", "--no-kubernetes", "--state-dir", "none")

LIMITED = """
import resource, sys
import tracer.commands.agent
from tracer.cli import main
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
sys.exit(main(sys.argv[2:]))
"""
"""The agent that may open so many files, from the moment that its modules are there."""

NOISY = """
import logging, os, sys, threading, warnings
import tracer.agent.engine
from tracer.cli import main
real = tracer.agent.engine.Engine._loop

class Unraisable:
    def __del__(self):
        raise KeyError("in a destructor")

def noisy(engine):
    warnings.warn("a library's warning", UserWarning)
    logging.getLogger("library").warning("%d arguments", "bad")
    threading.Thread(target=lambda: [][1], name="helper").start()
    Unraisable()
    real(engine)

tracer.agent.engine.Engine._loop = noisy
sys.exit(main(sys.argv[4:]))
"""
"""The agent beside everything that Python and libraries print to stderr by themselves."""

EARLY = """
import logging, sys
import tracer.agent.build
from tracer.cli import main
real = tracer.agent.build.open_proc
def open_proc(chosen):
    logging.getLogger("tracer.early").warning("before there is a log")
    return real(chosen)
tracer.agent.build.open_proc = open_proc
sys.exit(main(sys.argv[4:]))
"""


def python(script):
    return (sys.executable, "-c", script)


def failed_start(done):
    """Check that it failed with one agent_stopped line, and return its reason."""
    assert (done.returncode, done.stderr) == (3, "")
    lines = parse_lines(done.stdout)
    assert (lines[-1]["event"], lines[-1]["level"]) == ("agent_stopped", "error")
    return lines[-1]["source"]["reason"]


def test_a_proc_root_that_is_none(tmp_path):
    reason = failed_start(tracer("--proc-root", tmp_path, *PROC))
    assert str(tmp_path) in reason


def test_a_port_that_is_in_use():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert address in failed_start(tracer("--metrics-address", address, *PROC))


@pytest.mark.kernel
def test_bpf_that_is_refused():
    require(os.geteuid() == 0 and shutil.which("setpriv"), "dropping capabilities needs root")
    without = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs")
    options = ("--no-kubernetes", "--state-dir", "none")
    done = tracer("--source", "core", *options, wrapper=without)
    assert "CAP_BPF" in failed_start(done)
    with agent(*options, wrapper=without) as running:
        assert running.started()["source"]["name"] == "proc"
        assert running.stop() == 0
        assert running.errors == ""


@pytest.mark.kernel
def test_a_state_folder_that_cannot_be_written(tmp_path):
    require(os.geteuid() == 0 and shutil.which("unshare"), "mounting a file system needs root")
    mount = f'mount -t tmpfs -o ro none {tmp_path} && exec "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", mount, "sh")
    options = ("--source", "proc", "--no-kubernetes", "--state-dir", tmp_path / "state")
    with agent(*options, wrapper=wrapper) as running:
        message = running.line("agent_message")["message"]
        assert running.stop() == 0
        assert running.errors == ""
    assert str(tmp_path / "state") in message


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: it
contexts: [{{name: it, context: {{cluster: it, user: it}}}}]
clusters: [{{name: it, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: it, user: {{token: secret}}}}]
"""


def test_an_api_server_that_is_down(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = tmp_path / "config"
    config.write_text(KUBECONFIG.format(port=port))
    options = ("--source", "proc", "--state-dir", "none", "--kubeconfig", config)
    with agent(*options) as running:
        running.wait_for(lambda: len(running.lines) > 1 or running.events(), what="a message")
        wait_until(lambda: len(running.events()) > 1, timeout=30, what="a line about the server")
        assert running.stop() == 0
        assert running.errors == ""


def test_a_wrong_command_line_is_one_plain_line_on_stderr(tmp_path):
    config = tmp_path / "config"
    config.write_text("][")
    for options in (
        ("--log-rate", "0"),
        ("--log-burst", "many"),
        ("--follow", "--log-rate", "5"),
        ("--kubeconfig", config),
    ):
        done = tracer(*options)
        assert (done.returncode, done.stdout) == (2, ""), options
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("tracer: error: ")


@pytest.mark.parametrize("files", range(3, 16))
def test_too_few_file_descriptors(files):
    """It starts, or says in a line why not, wherever they run out."""
    command = [*python(LIMITED), str(files), *PROC]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        first = process.stdout.readline()
        if b"agent_stopped" not in first:
            process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=30)
    assert errors == b""
    lines = parse_lines(first + out)
    assert lines[-1]["event"] == "agent_stopped"
    assert process.returncode in (0, 3)
    if process.returncode == 3:
        assert "open files" in lines[-1]["source"]["reason"]


def test_what_python_prints_by_itself_becomes_messages():
    with agent(*PROC, wrapper=python(NOISY)) as running:
        running.wait_for(lambda: len(running.events("agent_message")) == 4, what="the messages")
        assert running.stop() == 0
        assert running.errors == ""
        messages = {line["message"]: line for line in running.events("agent_message")}
    [warning, *_] = messages
    assert warning == "UserWarning: a library's warning"
    assert any("bad" in message or "%d arguments" in message for message in messages)
    [thread] = [message for message in messages if "thread helper" in message]
    assert "IndexError" in messages[thread]["exception"]["stacktrace"]
    [destructor] = [message for message in messages if "__del__" in message]
    assert "in a destructor" in messages[destructor]["exception"]["stacktrace"]


def test_a_message_from_before_the_log_is_a_line_of_it():
    with agent(*PROC, wrapper=python(EARLY)) as running:
        assert running.line("agent_message")["message"] == "before there is a log"
        assert running.stop() == 0
        assert running.errors == ""


def test_a_failed_start_shows_the_messages_from_before_it(tmp_path):
    done = tracer(*PROC, "--proc-root", tmp_path, wrapper=python(EARLY))
    failed_start(done)
    assert [line["event"] for line in parse_lines(done.stdout)] == [
        "agent_message",
        "agent_stopped",
    ]


def test_structlog_that_is_missing_costs_no_message():
    script = "import sys\nsys.modules['structlog'] = None\n" + EARLY
    with agent(*PROC, wrapper=python(script)) as running:
        assert running.line("agent_message")["message"] == "before there is a log"
        assert running.stop() == 0
        assert running.errors == ""
