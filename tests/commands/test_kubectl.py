"""The kubectl plugin, with a kubectl that knows two nodes and runs `tracer` here for both."""

import json
import os
import stat
import subprocess
import sys

import pytest

KUBECTL = """#!{python}
import json, os, sys
words = sys.argv[1:]
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
                "import sys; from tracer.cli import kubectl_main; sys.exit(kubectl_main())",
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
