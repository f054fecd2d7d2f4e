"""Commands beside a running agent: they know what it knows, and leave nothing behind."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.agent import TRACER, agent, environment, tracer
from support.schema import check_scan, parse_lines
from support.zombies import wait_until, zombies

pytestmark = pytest.mark.kernel

DEADLINE_SECONDS = 30.0
GROWTH_KB = 40_000
AT_ONCE = 20


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An agent, and the options with which commands find it."""
    state = tmp_path_factory.mktemp("run") / "state"
    with agent("--min-age", "2s", "--no-kubernetes", "--state-dir", state) as running:
        running.state = state
        running.options = ("--state-dir", state)
        yield running
        assert running.stop() == 0


@pytest.fixture(scope="module")
def family(running):
    """Zombies that died while the agent watched."""
    with zombies(3, status=7) as family:
        running.lines_of(family.pids)
        yield family


def anonymous_kb(pid):
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", rollup, re.MULTILINE)[1])


def scan(running, *arguments, status=0):
    done = tracer("scan", *arguments, *running.options)
    assert (done.returncode, done.stderr) == (status, "")
    return done.stdout


def test_scan_knows_what_the_agent_saw(running, family):
    """Also what its state folder does not have: how the parent has waited."""
    found = {one["process"]["pid"]: one for one in json.loads(scan(running, "-o", "json"))}
    check_scan([found[pid] for pid in family.pids])
    for pid in family.pids:
        line = running.line("zombie_detected", pid=pid)
        for path in ("process", "forker"):
            assert found[pid][path] == line[path], path
        assert found[pid]["parent"]["waits"]["specific"] == line["parent"]["waits"]["specific"]
        assert found[pid]["process"]["exit"]["time_known"] is True
        assert found[pid]["forker"]["pid"] == family.parent_pid
        assert found[pid]["cause"]["code"] == line["cause"]["code"]
        assert found[pid]["cause"]["confidence"] == line["cause"]["confidence"]


def test_scan_shows_zombies_of_any_age(running, family):
    with zombies(1) as young:
        found = json.loads(scan(running, "-o", "json"))
        assert young.pids[0] in {one["process"]["pid"] for one in found}
    assert running.names(young.pids[0]) == []


def test_tables_and_statuses_are_those_of_a_scan_alone(running, family):
    for words in (("--by", "parent"), ("--by", "zombie"), ("--by", "pod"), ("-o", "wide")):
        asked = scan(running, *words)
        alone = tracer("scan", *words, "--no-kubernetes", *running.options).stdout
        assert asked.splitlines()[0].split() == alone.splitlines()[0].split()
        assert str(family.parent_pid) in asked or "--by" in words
    scan(running, "--exit-code", status=1)
    nothing = tracer("scan", "--exit-code", "-n", "nowhere", *running.options)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr.startswith("no zombies in namespace nowhere (")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["scan", "--min-age", "1x"], "'1x'"),
        (["scan", "--colour"], "--colour"),
        (["scan", "--by", "moon"], "'moon'"),
        (["explain", "init"], "'init'"),
        (["explain"], "PID"),
        (["--follow", "-o", "xml"], "'xml'"),
        (["--follow", "--min-age"], "--min-age"),
    ],
)
def test_a_wrong_command_line_is_one_line(running, arguments, named):
    done = tracer(*arguments, "--state-dir=" + str(running.state))
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("tracer: error: ")
    assert named in line


def test_explain_answers_at_once(running, family):
    """The agent has been watching: an hour of --watch would only be needed without it."""
    done = tracer("explain", family.pids[0], "--watch", "1h", "-o", "json", *running.options)
    assert (done.returncode, done.stderr) == (0, "")
    explained = json.loads(done.stdout)
    [zombie] = explained["zombies"]
    assert zombie["process"]["exit"]["time_known"] is True
    assert zombie["forker"]["pid"] == family.parent_pid
    assert explained["waits"]["watched_seconds"] > 0
    assert explained["zombies_of_parent"] == 3
    text = tracer("explain", family.parent_pid, *running.options).stdout
    assert "is alive and has 3 zombies." in text


def test_explain_of_nobody(running):
    done = tracer("explain", 2**22 + 1, *running.options)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no process" in done.stderr


def test_without_an_agent_it_says_what_is_unknown(tmp_path, family):
    """Once, on stderr: what is printed on stdout stays as it was."""
    nowhere = ("--state-dir", tmp_path / "nowhere")
    for words in (("scan", "-o", "json"), ("explain", family.pids[0], "--watch", "0s")):
        done = tracer(*words, *nowhere, env={"KUBERNETES_SERVICE_HOST": ""})
        assert done.returncode == 0
        said = [line for line in done.stderr.splitlines() if "no agent answered" in line]
        assert len(said) == 1
        assert f"{tmp_path}/nowhere/agent.sock (No such file or directory)" in said[0]
        assert "exit times" in said[0]
    [zombie] = [
        one
        for one in json.loads(tracer("scan", "-o", "json", *nowhere).stdout)
        if one["process"]["pid"] == family.pids[0]
    ]
    assert zombie["process"]["exit"]["time_known"] is False


@contextlib.contextmanager
def following(running, *arguments, env=None, **options):
    process = subprocess.Popen(
        [*TRACER, "--follow", *arguments, *map(str, running.options)],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_follow_shows_each_zombie_once_at_its_own_age(running, family):
    with following(running, "-o", "json", "--min-age", "1s") as process, zombies(2) as more:
        lines, seen = [], []
        while set(seen) < {*family.pids, *more.pids}:
            [line] = parse_lines(process.stdout.readline())
            lines.append(line)
            if line["event"] == "zombie_detected":
                seen.append(line["process"]["pid"])
        assert lines[0]["event"] == "agent_started"
        assert lines[0]["settings"]["min_age_seconds"] == 1
        more.reap()
        reaped = set()
        while reaped < {*seen[-2:]} & set(more.pids) or not reaped:
            [line] = parse_lines(process.stdout.readline())
            if line["event"] == "zombie_reaped":
                reaped.add(line["process"]["pid"])
        assert len(seen) == len(set(seen))
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0


def test_follow_as_text(running, family):
    with following(running) as process:
        assert "start" in process.stdout.readline()
        text = ""
        while str(family.pids[-1]) not in text:
            text += process.stdout.readline()
        assert "TIME" in text
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0
        assert process.stderr.read() == ""


def test_the_end_of_the_agent_ends_its_clients(tmp_path):
    state = tmp_path / "state"
    with agent("--no-kubernetes", "--state-dir", state) as own:
        own.options = ("--state-dir", state)
        with following(own, "-o", "json") as process:
            process.stdout.readline()
            assert own.stop() == 0
            assert process.wait(DEADLINE_SECONDS) == 3
            assert "agent has ended" in process.stderr.read()
        assert own.errors == ""


def test_an_agent_that_cannot_listen_works_on(tmp_path):
    state = tmp_path / ("d" * 110)
    with agent("--no-kubernetes", "--state-dir", state) as own:
        warning = own.line("agent_message")
        assert warning["level"] == "warning"
        assert "agent.sock" in warning["message"]
        assert own.stop() == 0


@pytest.mark.parametrize(
    "arguments", [("--follow", "-o", "json"), ("explain", "1", "--watch", "1h")]
)
def test_without_an_agent_it_ends_with_its_user_too(arguments):
    """With --exit-with-stdin; the live view cleanly, as with any signal."""
    process = subprocess.Popen(
        [*TRACER, *arguments, "--exit-with-stdin", "--state-dir=none", "--no-kubernetes"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stdout if arguments[0] == "--follow" else process.stderr
    assert first.readline()
    assert process.poll() is None
    out, err = process.communicate(timeout=DEADLINE_SECONDS)  # closes its stdin
    if arguments[0] == "--follow":
        assert (process.returncode, err) == (0, "")
        assert parse_lines(out)[-1]["event"] == "agent_stopped"
    else:
        assert process.returncode == -signal.SIGTERM


AS_SHIPPED = """
mount --bind "$1" "$1"
mount -o remount,ro,bind /
shift
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+bpf,+perfmon,+sys_ptrace "$@"
"""


def as_shipped(state):
    """Return what gives a command the rights of the manifests: read-only root, no DAC override."""
    return ("unshare", "--mount", "sh", "-ec", AS_SHIPPED, "sh", str(state))


def test_with_the_rights_of_the_manifests(tmp_path):
    """And a state folder as kubelets make it; the zombies are those of another user."""
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    wrapper = as_shipped(state)
    nobody = ("unshare", "--fork", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    options = ("--min-age", "1s", "--no-kubernetes", "--state-dir", state)
    with agent(*options, wrapper=wrapper) as own, zombies(2, wrapper=nobody) as family:
        own.options = ("--state-dir", state)
        lines = own.lines_of(family.pids)
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "agent.sock").stat().st_mode) == 0o600
        done = tracer("scan", "-o", "json", *own.options, wrapper=wrapper)
        assert (done.returncode, done.stderr) == (0, "")
        found = {one["process"]["pid"]: one for one in json.loads(done.stdout)}
        for pid in family.pids:
            assert found[pid]["process"]["exit"] == lines[pid]["process"]["exit"]
            assert found[pid]["cause"]["code"] == lines[pid]["cause"]["code"]
        done = tracer("explain", family.parent_pid, *own.options, wrapper=wrapper)
        assert "has 2 zombies" in done.stdout
        # The modes protect the socket: another user gets no answer of the agent.
        done = tracer("scan", *own.options, wrapper=nobody, env={"KUBERNETES_SERVICE_HOST": ""})
        assert "no agent answered" in done.stderr or done.returncode == 3
        assert own.stop() == 0


# --- drills -------------------------------------------------------------------------------

KUBECTL = """#!{python}
import json, os, select, socket, subprocess, sys
words = sys.argv[1:]
if "get" in words:
    print(json.dumps({{"items": [{{"metadata": {{"name": "agent-1"}},
        "spec": {{"nodeName": "worker-1"}}, "status": {{"phase": "Running"}}}}]}}))
    sys.exit()

def copy(pairs, ended):
    # Copy from one descriptor to another until ended() says so for the one that closed.
    while pairs:
        poll = select.poll()
        for source in pairs:
            poll.register(source, select.POLLIN)
        for source, _ in poll.poll():
            data = os.read(source, 65536)
            try:
                data and pairs[source] is not None and os.write(pairs[source], data)
            except OSError:
                pairs[source] = None  # nobody there reads any more: go on reading
            if not data:
                target = pairs.pop(source)
                if ended(source, target):
                    return

here, there = socket.socketpair()
if not os.fork():
    # The container runtime: it outlives the connection, closes the command's stdin with it,
    # and goes on reading its stdout.
    os.setsid()
    here.close()
    command = words[words.index("--") + 2:]
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    inside = subprocess.Popen([sys.executable, "-m", "tracer", *command],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    def ended(source, target):
        if source == there.fileno():
            inside.stdin.close()
        return source != there.fileno()
    copy({{there.fileno(): inside.stdin.fileno(), inside.stdout.fileno(): there.fileno()}}, ended)
    os._exit(inside.wait())
there.close()
copy({{0: here.fileno(), here.fileno(): 1}}, lambda source, _: source == here.fileno()
     or here.shutdown(socket.SHUT_WR))
"""


@pytest.fixture
def plugin(tmp_path, running):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)

    def start(*words):
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; from tracer.cli import kubectl_main; sys.exit(kubectl_main())",
                *words,
            ],
            env=environment(
                PATH=f"{tmp_path}:{os.environ['PATH']}", TRACER_STATE_DIR=str(running.state)
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    return start


@pytest.mark.parametrize("end", ["Ctrl-C", "kill -9"])
def test_nothing_is_left_of_live_views_whose_user_is_gone(running, family, plugin, end):
    """Twice ten of them, ended as a terminal does, or by a kill of the plugin alone."""
    before = anonymous_kb(running.process.pid)
    for _ in range(2):
        started = [plugin("--follow", "-o", "json") for _ in range(10)]
        for process in started:
            assert process.stdout.readline()
        assert len(left_of(running.state)) == len(started)
        during = anonymous_kb(running.process.pid)
        for process in started:
            if end == "Ctrl-C":
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.kill()
        for process in started:
            process.wait(DEADLINE_SECONDS)
            process.stdout.close()
            process.stderr.close()
        wait_until(
            lambda: not clients_of(running.process.pid) and not left_of(running.state),
            timeout=DEADLINE_SECONDS,
            what="the end of all clients",
        )
    after = anonymous_kb(running.process.pid)
    print(f"{end}: before {before} kB, during {during} kB, after {after} kB")
    assert during - before < GROWTH_KB
    assert running.process.poll() is None


def left_of(state):
    """Return the commands that the plugin started in the container, by their variable."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_bytes().split(b"\0")
            inside = b"-m" in words and b"--exit-with-stdin" in words
            if inside and f"TRACER_STATE_DIR={state}".encode() in variables:
                found.append(int(folder.name))
    return found


def clients_of(agent_pid):
    """Return the agent's open connections: accepted Unix sockets."""
    links = []
    for descriptor in Path(f"/proc/{agent_pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(descriptor))
    listed = Path(f"/proc/{agent_pid}/net/unix").read_text().splitlines()
    connected = {
        f"socket:[{line.split()[6]}]"
        for line in listed
        if line.endswith("agent.sock") and line.split()[5] == "03"
    }
    return [link for link in links if link in connected]


def test_many_scans_at_once(running, family):
    before = anonymous_kb(running.process.pid)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(lambda _: scan(running, "-o", "json"), range(AT_ONCE)))
    after = anonymous_kb(running.process.pid)
    print(f"before {before} kB, after {after} kB")
    for text in done:
        assert set(family.pids) <= {one["process"]["pid"] for one in json.loads(text)}
    assert after - before < GROWTH_KB
    assert not clients_of(running.process.pid)
