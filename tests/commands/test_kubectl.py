"""The kubectl plugin, with a kubectl that knows two nodes and runs `tracer` here for both."""

import json
import os
import stat
import subprocess
import sys

import pytest

from tracer.commands.kubectl_answers import one_line

KUBECTL = """#!{python}
import json, os, sys
words = sys.argv[1:]
step = "get" if "get" in words else "exec"
if os.environ.get("HANGS") == step:
    import time
    time.sleep(60)
if "PRINTS_" + step in os.environ:
    print(os.environ["PRINTS_" + step])
    print(os.environ.get("ERRORS", ""), file=sys.stderr)
    sys.exit()
if "get" in words:
    if os.environ.get("NO_AGENTS"):
        print(json.dumps({{"items": []}}))
        sys.exit()
    pods = [
        {{"metadata": {{"name": f"agent-{{n}}"}}, "spec": {{"nodeName": f"worker-{{n}}"}},
          "status": {{"phase": "Running"}}}} for n in (1, 2)
    ]
    print(json.dumps({{"items": pods}}))
else:
    pod = words[words.index("exec") + 1]
    os.environ["NODE_NAME"] = pod.replace("agent", "worker")
    os.execv(sys.executable, [sys.executable, "-m", *words[words.index("--") + 1:]])
"""


PLUGIN = """
import os, sys
from tracer.cli import kubectl_main
from tracer.commands import kubectl_agents
if "HANGS" in os.environ:
    kubectl_agents._GET_SECONDS = kubectl_agents._EXEC_SECONDS = 0.5
sys.exit(kubectl_main())
"""


@pytest.fixture
def plugin(tmp_path):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)

    def run(*words, **environment):
        return subprocess.run(
            [
                sys.executable,
                "-c",
                PLUGIN,
                *words,
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | environment,
        )

    return run


def test_every_node_is_asked(plugin):
    done = plugin("scan", "--source", "proc", "--state-dir", "none", "--no-kubernetes")
    assert done.returncode == 0, done.stderr
    assert "NODE worker-1" in done.stdout
    assert "NODE worker-2" in done.stdout


@pytest.mark.parametrize("json_option", [("-o", "json"), ("--output", "json"), ("--output=json",)])
def test_json_becomes_one_array(plugin, json_option):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    try:
        quiet = ("--source=proc", "--state-dir=none", "--no-kubernetes")
        done = plugin("scan", *quiet, *json_option)
    finally:
        os.waitpid(pid, 0)
    ours = [one for one in json.loads(done.stdout) if one["process"]["pid"] == pid]
    assert [one["k8s"]["node"]["name"] for one in ours] == ["worker-1", "worker-2"]


def test_a_pid_needs_its_node(plugin):
    done = plugin("explain", "1")
    assert done.returncode == 2
    assert "--node" in done.stderr
    unknown = plugin("--node", "worker-9", "scan")
    assert (unknown.returncode, "worker-9" in unknown.stderr) == (2, True)


def test_emulate_is_refused_before_anything_is_asked(plugin):
    done = plugin("emulate", PATH="/nonexistent")
    assert done.returncode == 2
    assert "deploy/examples" in done.stderr


def test_wrong_options_of_its_own_are_one_line(plugin):
    done = plugin("--node")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--node" in done.stderr


def test_without_agents_it_says_how_to_install_them(plugin):
    done = plugin("scan", NO_AGENTS="1")
    assert done.returncode == 3
    assert "kubectl apply -k" in done.stderr


def test_without_kubectl_it_says_so(plugin):
    done = plugin("scan", PATH="/nonexistent")
    assert done.returncode == 3
    assert "kubectl" in done.stderr


def test_options_alone_are_those_of_scan(plugin):
    """`tracer` without a command would be a second agent."""
    done = plugin("--source", "proc", "--state-dir", "none", "--no-kubernetes", "--by", "pod")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("NODE worker-") == 2


def test_a_live_view_ends_with_its_reader(plugin, tmp_path):
    """`kubectl zombies -n shop --follow | head -1`, with the option not in the first place."""
    options = "--no-kubernetes --source proc --state-dir none --follow -o json"
    done = subprocess.run(
        f"{sys.executable} -c 'from tracer.cli import kubectl_main; kubectl_main()'"
        f" {options} | head -1",
        shell=True,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert "agent_started" in done.stdout
    assert done.stderr == ""


def assert_one_line(done, status, *parts):
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def test_a_kubectl_that_hangs_is_given_up(plugin):
    done = plugin("scan", HANGS="get")
    assert_one_line(done, 3, "kubectl get pods did not answer", "kubectl cluster-info")


def test_a_node_that_hangs_is_given_up_and_named(plugin):
    done = plugin("--node", "worker-1", "scan", HANGS="exec")
    assert_one_line(done, 3, "worker-1: no answer within", "logs agent-1")


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "{}", "null", '{"items": 3}', '{"items": [{}]}', '{"items": [[]]}',
     '{"items": [{"spec": 1, "status": {"phase": "Running"}}]}',
     '{"items": [{"spec": {}, "status": {"phase": "Running"}, "metadata": []}]}',
     "[" * 100_000, "\x1b]0;title\x07"],
)  # fmt: skip
def test_a_kubectl_that_prints_something_else_is_quoted(plugin, text):
    done = plugin("scan", PRINTS_get=text)
    assert_one_line(done, 3)
    assert "instead of a list of pods" in done.stderr or "no agent runs" in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr) < 400


def test_a_kubectl_that_is_no_program_is_reported(plugin, tmp_path):
    (tmp_path / "kubectl").write_bytes(b"\x7fELF")
    for words in (["scan"], ["--follow"]):
        done = plugin(*words, PATH=str(tmp_path))
        assert_one_line(done, 3, "kubectl cannot be started: Exec format error")


def test_of_what_kubectl_says_without_a_server_the_sentence_is_kept():
    log = 'E1125 05:02:27.436047 24177 memcache.go:265] "Unhandled Error" err="refused"'
    sentence = "The connection to the server localhost:8080 was refused"
    assert one_line(f"{log}\n{log}\n{sentence}\n") == sentence
    assert one_line(log) == log


@pytest.mark.parametrize("text", ["{}", "no JSON", "", "3", "[" * 100_000])
def test_rows_that_are_none_are_one_line_and_the_array_stays_valid(plugin, text):
    done = plugin("--node", "worker-2", "scan", "-o", "json", PRINTS_exec=text)
    assert_one_line(done, 3, "worker-2: the agent printed", "instead of a JSON array")
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("words", [["scan"], ["scan", "-o", "json"], ["--follow"]])
def test_what_the_agents_log_about_themselves_is_not_shown(plugin, words):
    errors = "tracer: INFO: source core\ntracer: WARNING: clock\x1b[2J"
    done = plugin("--node", "worker-1", *words, PRINTS_exec="[]", ERRORS=errors)
    assert done.stderr.splitlines() == ["worker-1: tracer: WARNING: clock\\x1b[2J"]


@pytest.mark.parametrize("option", [["-o", "json"], ["--output=json"], []])
def test_live_lines_name_the_node_once(plugin, option):
    """A JSON line has k8s.node.name; what a person reads has the node's name in front."""
    line = '{"k8s": {"node": {"name": "worker-1"}}}'
    done = plugin("--node", "worker-1", "--follow", *option, PRINTS_exec=line)
    assert done.stdout == (line if option else f"worker-1  {line}") + "\n"


def test_a_node_name_cannot_write_to_the_terminal(plugin):
    pods = {
        "items": [
            {
                "metadata": {"name": f"agent-{n}"},
                "spec": {"nodeName": f"\x1b[2Jnode-{n}"},
                "status": {"phase": "Running"},
            }
            for n in (1, 2)
        ]
    }
    for words in (["scan"], ["--follow"], ["scan", "-o", "json"], ["explain", "1"]):
        done = plugin(*words, PRINTS_get=json.dumps(pods), PRINTS_exec="x", ERRORS="y")
        assert "\x1b" not in done.stdout + done.stderr
    done = plugin("--node", "\x1b[2Jnode-9", "scan", PRINTS_get=json.dumps(pods))
    assert "\x1b" not in done.stderr
