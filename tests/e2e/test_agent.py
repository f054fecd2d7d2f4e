"""The agent as a process, beside real zombies: what it logs of them, and what it does not."""

import contextlib
import errno
import os
import signal
import time
from datetime import datetime
from types import SimpleNamespace

import pytest
from support.agent import agent
from support.kernel import require
from support.scripted import script
from support.zombies import start_ticks, state, wait_until, zombies

pytestmark = pytest.mark.kernel

STORM = 2_000
BURST = 200
"""Zombies of one parent reported one by one before a storm begins (tracer/table/storm.py)."""

PID_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")

DUMPS_CORE = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, resource.getrlimit(resource.RLIMIT_CORE)[1]))
pid = born(os.abort)
dead(pid)
result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
say(child=pid, dumped=result.si_code == os.CLD_DUMPED, status=result.si_status)
"""

DEAD_LEADER = """
import threading
def live():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=live).start()
threading.Thread(target=lambda: (time.sleep(0.05), say(leader=os.getpid()))).start()
libc.syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""

IGNORES_SIGCHLD = """
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
say(children=[born() for _ in range(3)])
"""

REAPS_AFTER_HALF_A_SECOND = """
pid = dead(born())
time.sleep(0.5)
os.waitpid(pid, 0)
say(child=pid)
"""

ANOTHER_FORKED_IT = """
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
read, write = os.pipe()
def between():
    with open("/proc/self/comm", "w") as comm:
        comm.write("between")
    os.write(write, str(born(lambda: time.sleep(0.05))).encode())
middle = born(between)
child = int(os.read(read, 20))
os.waitpid(middle, 0)
dead(child)
say(child=child, middle=middle)
"""

ANOTHER_USER = "say(child=dead(born(lambda: os.setuid(12345), status=3)))"

WAITS_IN_BOTH_WAYS = """
zombie = dead(born())
living = born(lambda: os.read(0, 1))
for _ in range(4):
    os.waitpid(living, os.WNOHANG)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
say(child=zombie)
"""

MOVES_TO_CGROUP = """
def move():
    with open({path!r} + "/cgroup.procs", "w") as procs:
        procs.write("0")
say(child=dead(born(move)))
"""


def now_seconds():
    """Return the wall clock, as the log's times are."""
    return time.time()


def seconds(text):
    """Return a time of the log as Unix time."""
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture(scope="module")
def cast(tmp_path_factory):
    """One agent, and beside it all processes that the tests below use."""
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        old = enter(zombies(2, comm="before"))
        old.at = now_seconds()
        folder = tmp_path_factory.mktemp("state")
        running = enter(
            agent("--min-age", "1s", "--state-dir", folder, "--no-kubernetes", "--node-name", "n1")
        )
        storm = enter(zombies(STORM))
        cores = tmp_path_factory.mktemp("cores")
        yield SimpleNamespace(
            agent=running,
            state_dir=folder,
            old=old,
            storm=storm,
            contained=enter(zombies(10, wrapper=PID_NAMESPACE)),
            killed=enter(zombies(1, status=-signal.SIGKILL)),
            failed=enter(zombies(3, status=7, comm="7) \x1b[31m")),
            orphaned=enter(zombies(4)),
            dumped=enter(script(DUMPS_CORE, cwd=cores)),
            leader=enter(script(DEAD_LEADER)),
            ignoring=enter(script(IGNORES_SIGCHLD)),
            reaping=enter(script(REAPS_AFTER_HALF_A_SECOND)),
            forked=enter(script(ANOTHER_FORKED_IT)),
            user=enter(script(ANOTHER_USER)),
            waiting=enter(script(WAITS_IN_BOTH_WAYS)),
            # Made last: when it is reported, all the others have been, too.
            last=enter(zombies(1)),
        )


def test_the_first_line_says_what_runs(cast):
    line = cast.agent.started()
    assert cast.agent.lines[0] == line
    assert line["source"]["name"] == "core"
    assert line["settings"]["min_age_seconds"] == 1.0
    assert line["settings"]["pid"] == cast.agent.process.pid
    assert line["k8s"]["node"]["name"] == "n1"


def test_a_zombie_in_a_pid_namespace_has_a_vpid(cast):
    """The parent is its pid 1, and the ten children have 2 to 11, whatever the host calls them."""
    lines = cast.agent.lines_of(cast.contained.pids)
    assert sorted(line["process"]["vpid"] for line in lines.values()) == list(range(2, 12))
    for pid, line in lines.items():
        assert line["process"]["vpid"] == namespace_pid(pid)
        parent = line["parent"]
        assert (parent["pid"], parent["vpid"]) == (cast.contained.parent_pid, 1)
        assert parent["is_init"] is True
        assert line["process"]["parent_pid"] == cast.contained.parent_pid
        assert line["zombie"]["siblings"] <= 9
    assert max(line["zombie"]["siblings"] for line in lines.values()) == 9


def namespace_pid(pid):
    """Return the pid that it has in its own namespace."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        [line] = [line for line in status if line.startswith("NSpid:")]
    return int(line.split()[-1])


def test_a_signal_is_named_and_leaves_no_exit_code(cast):
    [line] = cast.agent.lines_of(cast.killed.pids).values()
    assert line["process"]["exit"]["signal"] == "SIGKILL"
    assert line["process"]["exit"]["code"] is None
    assert line["process"]["exit"]["core_dumped"] is False


def test_a_dumped_core_is_reported(cast):
    line = cast.agent.line("zombie_detected", pid=cast.dumped.child)
    assert line["process"]["exit"]["signal"] == signal.Signals(cast.dumped.status).name == "SIGABRT"
    require(cast.dumped.dumped, "this kernel writes no cores")
    assert line["process"]["exit"]["core_dumped"] is True


def test_exit_code_name_user_and_times(cast):
    lines = cast.agent.lines_of(cast.failed.pids)
    for pid, line in lines.items():
        assert line["level"] == "warning"
        assert line["process"]["exit"]["code"] == 7
        assert line["process"]["exit"]["signal"] is None
        assert line["process"]["executable"]["name"] == "7) \x1b[31m"
        assert line["process"]["user"]["id"] == os.getuid()
        assert line["process"]["state"] == "defunct"
        died = seconds(line["process"]["exit"]["time"])
        assert line["process"]["exit"]["time_known"] is True
        age = seconds(line["timestamp"]) - died
        assert line["zombie"]["age_seconds"] == pytest.approx(age, abs=0.01)
        assert age >= 1.0
        born = start_ticks(pid) / os.sysconf("SC_CLK_TCK") + boot_time()
        assert seconds(line["process"]["creation"]["time"]) == pytest.approx(born, abs=0.1)
        assert -0.1 <= died - born < 15


def boot_time():
    """Return when the machine was started, as Unix time; the best of some tries, for load."""
    return max(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) for _ in range(20))


def test_the_user_is_the_child_s_and_not_the_parent_s(cast):
    line = cast.agent.line("zombie_detected", pid=cast.user.child)
    assert line["process"]["user"]["id"] == 12345
    assert line["process"]["exit"]["code"] == 3


def test_who_forked_it(cast):
    for pid, line in cast.agent.lines_of(cast.orphaned.pids).items():
        assert line["forker"]["pid"] == cast.orphaned.parent_pid, pid
        assert line["forker"]["is_parent"] is True
        assert line["forker"]["executable"]["name"] == line["parent"]["executable"]["name"]
        assert line["parent"]["executable"]["path"] == os.path.realpath("/proc/self/exe")
        assert line["parent"]["state"] == "sleeping"
    line = cast.agent.line("zombie_detected", pid=cast.forked.child)
    assert line["parent"]["pid"] == cast.forked.pid
    assert line["forker"]["pid"] == cast.forked.middle
    assert line["forker"]["executable"]["name"] == "between"
    assert line["forker"]["is_parent"] is False


def test_how_the_parent_waits(cast):
    """Four calls for a living child, one for the zombie itself, two for any child."""
    waits = cast.agent.line("zombie_detected", pid=cast.waiting.child)["parent"]["waits"]
    assert (waits["specific"], waits["any"]) == (5, 2)
    assert waits["last_seconds_ago"] == pytest.approx(1.0, abs=0.9)


def test_a_zombie_from_before_the_agent(cast):
    """Its exit was not seen; its age is a lower bound, and close."""
    for line in cast.agent.lines_of(cast.old.pids).values():
        exit_ = line["process"]["exit"]
        assert (exit_["time"], exit_["time_known"]) == (None, False)
        assert line["forker"]["pid"] is None
        age = seconds(line["timestamp"]) - cast.old.at
        assert age - 0.5 <= line["zombie"]["age_seconds"] <= age + 1.5


def test_what_is_not_a_zombie_is_not_reported(cast):
    cast.agent.lines_of(cast.last.pids)
    assert state(cast.leader.leader) == "Z", "the dead leader looks like a zombie"
    reported = {line["process"]["pid"] for line in cast.agent.events("zombie_detected")}
    assert cast.leader.leader not in reported
    assert not reported & set(cast.ignoring.children)
    assert cast.reaping.child not in reported


def test_each_zombie_is_reported_once_and_has_a_cause(cast):
    cast.agent.lines_of(cast.last.pids)
    detected = cast.agent.events("zombie_detected")
    reported = [(line["process"]["pid"], line["process"]["creation"]["time"]) for line in detected]
    assert len(reported) == len(set(reported))
    for line in detected:
        assert line["cause"]["code"]


def test_init_reaps_what_a_dead_parent_leaves(cast):
    lines = cast.agent.lines_of(cast.orphaned.pids)
    pids = list(lines)
    began = {pid: seconds(line["process"]["exit"]["time"]) for pid, line in lines.items()}
    cast.orphaned.kill_parent()
    # On some machines pid 1 looks for children only every few seconds.
    wait_until(lambda: all(state(pid) is None for pid in pids), timeout=60, what="reaping by init")
    gone_at = now_seconds()
    for pid, line in cast.agent.lines_of(pids, "zombie_reaped").items():
        lifetime = line["zombie"]["lifetime_seconds"]
        assert seconds(line["timestamp"]) - began[pid] == pytest.approx(lifetime, abs=0.05)
        assert 1.0 <= lifetime <= gone_at - began[pid] + 0.2
        assert seconds(line["process"]["exit"]["time"]) == pytest.approx(began[pid], abs=0.001)
        assert cast.agent.names(pid) == ["zombie_detected", "zombie_reaped"]


def test_reaped_by_its_parent(cast):
    pids = list(cast.agent.lines_of(cast.failed.pids))
    assert sorted(cast.failed.reap()) == sorted(pids)
    for pid, line in cast.agent.lines_of(pids, "zombie_reaped").items():
        assert line["level"] == "info"
        assert line["process"]["exit"]["code"] == 7
        assert line["zombie"]["lifetime_seconds"] >= 1.0
        assert line["zombie"]["age_seconds"] == line["zombie"]["lifetime_seconds"]
        assert cast.agent.names(pid) == ["zombie_detected", "zombie_reaped"]


# --- sources ------------------------------------------------------------------------------


def test_every_source_reports_the_same_zombies():
    """Three agents side by side; what only BPF can know is null without it."""
    names = ("core", "bcc", "proc")
    options = ("--min-age", "500ms", "--state-dir", "none", "--no-kubernetes")
    with contextlib.ExitStack() as stack:
        agents = {
            name: stack.enter_context(agent("--source", name, *options, wait=False))
            for name in names
        }
        for running in agents.values():
            running.started()
        family = stack.enter_context(zombies(5, status=9))
        other = stack.enter_context(zombies(1, status=-signal.SIGTERM))
        pids = [*family.pids, *other.pids]
        parents = dict.fromkeys(family.pids, family.parent_pid)
        parents |= dict.fromkeys(other.pids, other.parent_pid)
        lines = {name: running.lines_of(pids) for name, running in agents.items()}
        family.reap()
        reaped = {
            name: running.lines_of(parents.keys() - set(other.pids), "zombie_reaped")
            for name, running in agents.items()
        }
        for name, running in agents.items():
            assert running.stop() == 0
            for pid in pids:
                expected = ["zombie_detected"] + ["zombie_reaped"] * (pid in reaped[name])
                assert running.names(pid) == expected, name
    for name in names:
        assert agents[name].started()["source"]["name"] == name
        for pid, line in lines[name].items():
            assert line["parent"]["pid"] == parents[pid]
            for path in (("exit", "code"), ("exit", "signal"), ("user", "id"), ("vpid",)):
                assert of(line["process"], path) == of(lines["core"][pid]["process"], path), path
            assert line["process"]["exit"]["time_known"] is (name != "proc")
            assert (line["forker"]["pid"] == parents[pid]) is (name != "proc")
    core, bcc = lines["core"], lines["bcc"]
    for pid in pids:
        died = [seconds(lines_[pid]["process"]["exit"]["time"]) for lines_ in (core, bcc)]
        assert died[0] == pytest.approx(died[1], abs=0.02)


def of(document, path):
    """Return what stands at that path."""
    for name in path:
        document = document[name]
    return document


# --- losses -------------------------------------------------------------------------------


def test_a_full_map_loses_no_zombie(tmp_path):
    """Sixteen places for all of the machine's processes: the snapshot finds the others."""
    options = ("--min-age", "300ms", "--map-entries", 16, "--state-dir", "none")
    with agent(*options, "--no-kubernetes") as running, contextlib.ExitStack() as stack:
        families = [stack.enter_context(zombies(60)) for _ in range(3)]
        pids = [pid for family in families for pid in family.pids]
        running.lines_of(pids, timeout=30)
        changed = running.line("source_changed")
        assert changed["level"] == "error"
        assert changed["source"]["name"] == changed["source"]["previous"] == "core"
        assert "--map-entries" in changed["source"]["reason"]
        assert changed["lost"]["map_full"] > 0
        gone = [pid for family in families for pid in family.reap(30)]
        assert len(gone) == 90
        running.lines_of(gone, "zombie_reaped", timeout=90)
        assert running.stop() == 0
        for pid in pids:
            reported = ["zombie_detected", *["zombie_reaped"] * (pid in gone)]
            assert running.names(pid) == reported


# --- restarts -----------------------------------------------------------------------------


def test_nothing_is_reported_twice_after_a_restart(tmp_path):
    """SIGTERM, then kill -9: reported once, with the exit time that the first agent saw."""
    options = ("--min-age", "300ms", "--state-dir", tmp_path / "state", "--no-kubernetes")
    with zombies(4) as family, zombies(0) as late:
        with agent(*options) as first:
            born = family.spawn(2)
            lines = first.lines_of([*family.pids])
            assert first.stop() == 0
        [while_away, *_] = late.spawn(1)
        [reaped_away] = family.reap(1)
        with agent(*options) as second:
            second.lines_of([while_away])
            assert second.line("zombie_reaped", pid=reaped_away)
            seen = late.spawn(1)
            lines |= second.lines_of(seen)
            # The line is out; that it is also remembered is what kill -9 must not undo.
            assert second.stop(signal.SIGKILL) == -signal.SIGKILL
        assert names_of(second, family.pids) == []
        with agent(*options) as third:
            third.lines_of(late.spawn(1))
            assert names_of(third, [*family.pids, while_away, *seen]) == []
            family.reap()
            late.reap()
            gone = third.lines_of([*born, *seen], "zombie_reaped")
            for pid in born + seen:
                died, reported = (
                    seconds(line["process"]["exit"]["time"]) for line in (lines[pid], gone[pid])
                )
                assert reported == pytest.approx(died, abs=0.001), (
                    "to what the wall clock was slewed"
                )
                assert gone[pid]["process"]["exit"]["time_known"] is True
                lifetime = seconds(gone[pid]["timestamp"]) - died
                assert gone[pid]["zombie"]["lifetime_seconds"] == pytest.approx(lifetime, abs=0.1)
            assert third.stop() == 0
        # A reaping that no agent saw is reported by the first that finds the zombie gone.
        assert names_of(third, [reaped_away]) == []


def names_of(running, pids):
    """Return the events that were reported of these zombies."""
    return [name for pid in pids for name in running.names(pid)]


# --- filters ------------------------------------------------------------------------------


@pytest.fixture
def pod_cgroup():
    """A cgroup named as the kubelet and containerd name one, and the ids in its name."""
    mounts = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
    root = next((path for path in mounts if os.path.exists(f"{path}/cgroup.procs")), None)
    require(root, "no cgroup2 mount")
    uid = f"0b5f6d1e-7a45-4c2e-9a60-{os.getpid():012x}"
    container = f"{os.getpid():064x}"
    pod = f"{root}/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice"
    scope = f"{pod}/cri-containerd-{container}.scope"
    os.makedirs(scope)
    yield SimpleNamespace(path=scope, uid=uid, container=container)
    for path in (scope, pod):
        wait_until(lambda path=path: removed(path), what="an empty cgroup")
    with contextlib.suppress(OSError):  # others may have pods there
        os.rmdir(f"{root}/kubepods.slice")


def removed(path):
    """Remove a cgroup; False while something is in it."""
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def test_only_pods(pod_cgroup):
    options = ("--min-age", "300ms", "--state-dir", "none", "--no-kubernetes", "--pods-only")
    with (
        zombies(3) as outside,
        agent(*options) as running,
        zombies(3) as later,
        script(MOVES_TO_CGROUP.format(path=pod_cgroup.path)) as inside,
    ):
        line = running.line("zombie_detected", pid=inside.child)
        assert line["k8s"]["pod"]["uid"] == pod_cgroup.uid
        assert line["container"]["id"] == pod_cgroup.container
        assert line["container"]["runtime"] == "containerd"
        assert line["process"]["linux"]["cgroup"].endswith(f"{pod_cgroup.container}.scope")
        assert running.stop() == 0
        assert names_of(running, [*outside.pids, *later.pids]) == []


# --- the end ------------------------------------------------------------------------------


def test_a_storm_is_counted(cast):
    """200 lines, then one storm with all the rest in it. Comes last: it takes half a minute."""
    parent = cast.storm.parent_pid
    began = cast.agent.line("zombie_storm", parent=parent)
    assert began["level"] == "error"
    assert began["storm"]["phase"] == "began"
    later = cast.agent.wait_for(
        lambda: cast.agent.events("zombie_storm", parent=parent)[1:], what="report", timeout=45
    )[0]
    singles = len(cast.agent.events("zombie_detected", parent=parent))
    assert BURST <= singles <= BURST + 20, "one by one until the bucket is empty"
    storm = later["storm"]
    assert storm["phase"] in ("ongoing", "ended")
    assert storm["zombies"] == STORM
    assert storm["detected"] == STORM - singles
    assert storm["reaped"] == 0
    assert 1 <= len(storm["samples"]) <= 5
    for sample in storm["samples"]:
        assert sample["process"]["pid"] in cast.storm.pids
    assert later["parent"]["pid"] == parent
    assert later["cause"]["code"]


def test_the_last_line_says_why_it_ended(cast):
    assert cast.agent.stop() == 0
    line = cast.agent.lines[-1]
    assert line["event"] == "agent_stopped"
    assert line["source"] == {"name": "core", "reason": "SIGTERM"}
    assert cast.agent.errors == ""
    assert line["lost"]["sink"] == 0
    assert len(cast.agent.events("agent_stopped")) == 1
