"""Commands run for clients by the agent: what they print, and that their memory is bounded.

The source is scripted, so that there may be a million zombies; what the agent really serves is
in tests/e2e/test_clients.py.
"""

import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from support.agent import environment

from tracer import protocol
from tracer.agent.serve.request import Request
from tracer.clock import NS, boot_ns, ticks
from tracer.commands.serving import Serving
from tracer.errors import PermanentError, TemporaryError
from tracer.model import Child, Forker, Identity, ListSnapshot, Losses
from tracer.options import read


class Heard:
    """A client that takes everything at once."""

    gone = False

    def __init__(self):
        self.written = {"out": "", "err": ""}

    def out(self, text):
        self.written["out"] += text

    def err(self, text):
        self.written["err"] += text


class Watched:
    """A source of the agent: every question may be asked by another thread than its own."""

    name = "core"
    running = True
    problem = None

    def __init__(self, children=()):
        self.attached_boot_ns = boot_ns() - 100 * NS
        self.children = list(children)

    def look(self):
        return ListSnapshot(boot_ns(), self.children)

    def poll(self, _now):
        pytest.fail("a client's command polled the agent's source")

    snapshot = poll

    def waits(self, _identity):
        return None

    def forker(self, _identity):
        return None

    def blocked_waits(self, _identity):
        return None

    def losses(self):
        return Losses()


class Nobody:
    def children(self):
        return []


def options():
    nothing = SimpleNamespace(no_kubernetes=True)
    return read(nothing, min_age="10s", environment={"NODE_NAME": "worker-1"})


def serve(command, *arguments, source=None, saved=None, followers=None, **more):
    """Run a command for a client; return its status, and what it printed."""
    serving = Serving(
        options(),
        sources=source or Watched(),
        index=None,
        saved=saved or Nobody(),
        followers=followers,
    )
    words = arguments if command == protocol.FOLLOW else (command, *arguments)
    client = Heard()
    status = serving.handle(Request(command, words, **more), client)
    return status, client.written["out"], client.written["err"]


def dead(pid, parent_pid=1, *, age_seconds=60, **more):
    start = boot_ns() - (age_seconds + 10) * NS
    return Child(
        identity=Identity(pid, ticks(start)),
        parent_pid=parent_pid,
        start_boot_ns=start,
        exit_boot_ns=boot_ns() - age_seconds * NS,
        exit_status=0,
        comm="made-up",
        **more,
    )


FAR = 5_000_000
"""No process of this machine has such a pid."""


def test_a_scan_shows_what_the_source_sees_at_any_age():
    source = Watched([dead(FAR, age_seconds=0), dead(FAR + 1, age_seconds=60)])
    status, out, err = serve("scan", "-o", "json", "--exit-code", source=source)
    assert (status, err) == (1, "")
    found = json.loads(out)
    assert [one["process"]["pid"] for one in found] == [FAR, FAR + 1]
    assert {one["k8s"]["node"]["name"] for one in found} == {"worker-1"}
    _, out, _ = serve("scan", "-o", "json", "--min-age", "30s", source=source)
    assert [one["process"]["pid"] for one in json.loads(out)] == [FAR + 1]


def test_what_the_agent_saved_is_filled_in():
    """An exit that an earlier agent saw: the source of this one cannot know it."""
    known = dead(FAR, forker=Forker(Identity(4711, 1), "sh"))
    live = Child(known.identity, known.parent_pid, known.start_boot_ns)
    saved = SimpleNamespace(children=lambda: [known])
    _, out, _ = serve("scan", "-o", "json", source=Watched([live]), saved=saved)
    [one] = json.loads(out)
    assert one["process"]["exit"]["time_known"] is True
    assert one["forker"]["pid"] == 4711


def test_the_width_and_the_variables_are_the_client_s():
    source = Watched([dead(FAR)])
    _, narrow, _ = serve("scan", source=source, columns=60)
    _, out, err = serve("scan", source=source, environment={"TRACER_NAMESPACE": "shop"})
    assert max(map(len, narrow.splitlines())) <= 100
    assert (out, err) == ("", "no zombies in namespace shop\n")


@pytest.mark.parametrize(
    ("command", "arguments", "status", "named"),
    [
        ("scan", ["--by", "moon"], 2, "'moon'"),
        ("scan", ["--help"], 2, "--help"),
        ("scan", ["--version"], 2, "--version"),
        ("explain", [], 2, "PID"),
        ("explain", ["init"], 2, "'init'"),
        (protocol.FOLLOW, ["--follow", "-o", "xml"], 2, "'xml'"),
        (protocol.FOLLOW, ["--follow", "--metrics-address", ":1"], 2, "--metrics-address"),
        (protocol.FOLLOW, ["--follow", "-h"], 2, "-h"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_never_on_the_agent_s_stdout(
    command, arguments, status, named, capsys
):
    code, out, err = serve(command, *arguments)
    assert (code, out) == (status, "")
    [line] = err.splitlines()
    assert line.startswith("tracer: error: ")
    assert named in line
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [PermanentError, TemporaryError])
def test_a_source_that_fails_is_reported_to_the_client(error, monkeypatch):
    source = Watched()

    def fail():
        raise error("the task iterator cannot be opened")

    monkeypatch.setattr(source, "look", fail)
    status, out, err = serve("scan", source=source)
    assert (status, out) == (3, "")
    assert err == "tracer: error: the task iterator cannot be opened\n"


def test_explain_of_a_living_process_needs_no_time():
    """It has been watched since the source was attached; --watch asks for nothing more."""
    pid = os.getpid()
    source = Watched([dead(FAR + number, pid) for number in range(30)])
    status, out, err = serve("explain", str(pid), "--watch", "1h", "-o", "json", source=source)
    assert (status, err) == (0, "")
    explained = json.loads(out)
    assert explained["zombies_of_parent"] == 30
    assert explained["watched_seconds"] >= 100
    assert len(explained["zombies"]) == 24, "the oldest and the newest"


def test_explain_of_a_thread_and_of_nobody():
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    _, out, _ = serve("explain", str(thread.native_id), "-o", "json")
    assert json.loads(out)["process"]["pid"] == os.getpid()
    status, out, err = serve("explain", str(FAR))
    assert (status, out) == (1, "")
    assert f"there is no process {FAR}" in err


def test_a_follower_too_many_is_refused():
    def refuse(_min_age_ns, _sink):
        raise TemporaryError("16 clients follow this agent already")

    followers = SimpleNamespace(subscribe=refuse)
    status, _, err = serve(protocol.FOLLOW, "--follow", followers=followers)
    assert status == 3
    assert "16 clients" in err


MANY = """
import gc, json, re, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from test_serving import FAR, Watched, dead, serve, boot_ns, NS, ticks
from tracer.model import Child, Identity

class Many:
    # Made one by one, as they are read from the kernel: a list of them would be the measurement.
    has_cgroups = True
    taken_boot_ns = boot_ns()
    def __init__(self, count, parents):
        self.count, self.parents = count, parents
    def keys(self):
        return (key[:4] for key in self.cgroup_keys())
    def cgroup_keys(self):
        died = boot_ns() - 3600 * NS
        start = ticks(died - NS)
        for n in range(self.count):
            yield FAR + n, start, 2 * FAR + n % self.parents, died + n, n % 97, 1
    def child(self, index):
        died = boot_ns() - 3600 * NS
        return Child(Identity(FAR + index, ticks(died - NS)), 2 * FAR + index % self.parents,
                     died - NS, died + index, exit_status=0, comm=f"w{index}")

class Source(Watched):
    def look(self):
        return Many(self.count, self.parents)

source = Source()
words, source.count, source.parents = json.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

class Sum:
    gone, out_bytes, said = False, 0, ""
    def out(self, text): self.out_bytes += len(text); self.last = text[-500:]
    def err(self, text): self.said += text

import test_serving
heard = Sum()
test_serving.Heard = lambda: heard
heard.written = {"out": "", "err": ""}
def anonymous(name):
    text = Path("/proc/self/status").read_text()
    return int(re.search(name + r":\\s+(\\d+) kB", text)[1])
real = source.count, source.parents
source.count, source.parents = 10, 5
serve(*words, source=source)  # what is imported for the first one stays
Path("/proc/self/clear_refs").write_text("5")
before, heard.said = anonymous("RssAnon"), ""
source.count, source.parents = real
status, _, _ = serve(*words, source=source)
print(json.dumps({"status": status, "said": heard.said, "bytes": heard.out_bytes, "last": heard.last,
                  "before": before, "peak": anonymous("VmHWM")
                  - anonymous("RssFile") - anonymous("RssShmem")}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "count", "parents", "said"),
    [
        (["scan", "-o", "json"], 25_000, 50, "5000 more zombies"),
        (["scan", "--by", "zombie", "-o", "wide"], 25_000, 50, "5000 more zombies"),
        (["scan"], 1_000_000, 5_000, ""),
        (["scan", "--by", "parent", "-o", "json"], 30_000, 30_000, "25000 more zombies"),
        (["scan", "--by", "pod"], 1_000_000, 5_000, "PARENTS is a lower bound"),
        (["explain", "2"], 1_000_000, 1, ""),
    ],
    ids=["json", "zombies", "million", "parents", "pods", "explain"],
)
def test_a_request_takes_at_most_40_mb(words, count, parents, said):
    """At its peak, over what the agent has already."""
    paths = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            MANY,
            json.dumps(paths),
            json.dumps(words),
            str(count),
            str(parents),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    print(words, report)
    assert said in report["said"]
    assert report["peak"] - report["before"] < 40_000
    if "pod" in words:
        assert f" {count} " in report["last"], "every zombie is counted"
