"""The built image under exactly the rights of the manifests: what it sees, and how it restarts.

Run by `make test-image` after `make image`: as root, with runc, containerd and buildah
installed. No registry, no cluster and no network are needed.
"""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from bundle import (
    agent_pod,
    example_pod,
    image_name,
    missing_tools,
    oci_config,
    rootfs,
    run,
    started,
)
from support.kube_api import KubeApi

DEPLOY = "deploy"
POD_UID = "0a1b2c3d-1111-4222-8333-444455556666"
CONTAINER_ID = "ab" * 32


def cannot(reason):
    if os.environ.get("TRACER_REQUIRE_KERNEL"):
        pytest.fail(f"TRACER_REQUIRE_KERNEL is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def pod():
    if os.geteuid():
        cannot("containers are started as root here")
    if missing := missing_tools():
        cannot(f"not installed: {', '.join(missing)}")
    return agent_pod(DEPLOY)


@pytest.fixture(scope="session")
def container(pod):
    (only,) = pod["containers"]
    image = image_name(only)
    if subprocess.run(["buildah", "inspect", image], capture_output=True, check=False).returncode:
        cannot(f"the image {image} is not built: run `make image`")
    return only


@pytest.fixture(scope="session")
def tree(container):
    with rootfs(image_name(container)) as path:
        yield path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def agent(pod, container, tree, tmp_path):
    """Return what starts an agent as the manifest does, in a state folder of this test's own."""
    state = tmp_path / "state"

    def start(name, *arguments, program=None, host_pid=True, state_folder=None, port=None):
        changed = container | {
            "args": [
                argument.replace(":9464", f"127.0.0.1:{port or free_port()}")
                for argument in container["args"]
            ]
            + ["--min-age=1s", "--no-kubernetes", *arguments]
        }
        if program is not None:
            changed = changed | {"command": list(program), "args": []}
        config = oci_config(
            DEPLOY,
            pod | {"hostPID": host_pid},
            changed,
            host_paths={"/run/zombie-tracer": str(state_folder or state)},
        )
        return started(config, tree, tmp_path, name)

    return start


def until(what, seconds=20, message=""):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, message() if callable(message) else message
        time.sleep(0.01)
    return found


def events(one, name, pid=None):
    return [
        line
        for line in one.lines()
        if line["event"] == name and (pid is None or line["process"]["pid"] == pid)
    ]


class Zombies:
    """A process that makes zombies on demand, in a cgroup of a pod's shape."""

    SCRIPT = """
import os, sys
for line in sys.stdin:
    if line == "make\\n":
        pid = os.fork()
        if not pid:
            os._exit(3)
        print(pid, flush=True)
    else:
        os.waitpid(int(line), 0)
        print("reaped", flush=True)
"""

    def __init__(self, cgroup=None):
        self.process = subprocess.Popen(
            ["python3", "-c", self.SCRIPT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if cgroup is not None:
            Path(cgroup, "cgroup.procs").write_text(str(self.process.pid))

    def _ask(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def make(self):
        return int(self._ask("make"))

    def reap(self, pid):
        assert self._ask(str(pid)) == "reaped"

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def zombies():
    made = Zombies()
    yield made
    made.close()


@pytest.fixture
def pod_cgroup():
    """Yield (folder, path) of a cgroup named as containerd and systemd name a container's."""
    root = next(
        (
            Path(line.split()[1])
            for line in Path("/proc/mounts").read_text().splitlines()
            if line.split()[2] == "cgroup2"
        ),
        None,
    )
    if root is None:
        cannot("no cgroup2 hierarchy is mounted")
    path = (
        f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{POD_UID.replace('-', '_')}"
        f".slice/cri-containerd-{CONTAINER_ID}.scope"
    )
    made = []
    for depth in range(1, path.count("/") + 2):
        folder = root.joinpath(*path.split("/")[:depth])
        if not folder.exists():
            folder.mkdir()
            made.append(folder)
    yield root / path, f"/{path}"
    for folder in reversed(made):
        until(lambda folder=folder: _removed(folder), message=f"{folder} stays")


def _removed(folder):
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def test_the_process_has_exactly_the_manifests_rights(agent):
    look = """
import json, os
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
try:
    open("/probe", "w")
    writable = True
except OSError:
    writable = False
open("/run/zombie-tracer/probe", "w")
names = "CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Uid".split()
print(json.dumps({name: status[name] for name in names} | {"writable": writable}))
"""
    with agent("rights", program=("python3", "-c", look)) as one:
        assert one.wait() == 0, one.err()
        (found,) = one.lines()
    three = f"{1 << 39 | 1 << 38 | 1 << 19:016x}"  # CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE
    none = f"{0:016x}"
    assert found == {
        "CapInh": none,
        "CapPrm": three,
        "CapEff": three,
        "CapBnd": three,
        "CapAmb": none,
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "Uid": "0\t0\t0\t0",
        "writable": False,
    }


def test_doctor_finds_nothing_wrong_that_matters(agent):
    with agent("doctor", program=("tracer", "doctor", "--no-kubernetes")) as one:
        assert one.wait() == 0, one.out() + one.err()
        assert "core" in one.out()


def test_doctor_asks_the_api_server_with_the_client_of_the_image(agent, tmp_path):
    """The image's own client lists and watches pods: the tests' client is the same release."""
    state = tmp_path / "state"
    state.mkdir(exist_ok=True)
    api = KubeApi()
    try:
        api.kubeconfig(state / "kubeconfig")
        program = (
            "tracer",
            "doctor",
            "-o",
            "json",
            "--kubeconfig",
            "/run/zombie-tracer/kubeconfig",
        )
        with agent("doctor-cluster", program=program) as one:
            assert one.wait() == 0, one.out() + one.err()
            (check,) = (c for c in json.loads(one.out())["checks"] if c["name"] == "kubernetes")
    finally:
        api.close()
    assert check["status"] == "ok", check
    assert [verb for verb, _ in api.requests] == ["list", "watch"]


def test_it_sees_a_zombie_its_exit_code_its_parent_and_its_cgroup(agent, pod_cgroup):
    folder, path = pod_cgroup
    maker = Zombies(folder)
    try:
        with agent("sees") as one:
            until(lambda: events(one, "agent_started"), message=one.err)
            assert events(one, "agent_started")[0]["source"]["name"] == "core"
            pid = maker.make()
            (line,) = until(lambda: events(one, "zombie_detected", pid), message=one.err)
    finally:
        maker.close()
    assert line["process"]["linux"]["cgroup"].endswith(path)
    assert line["container"]["id"] == CONTAINER_ID
    assert line["k8s"]["pod"]["uid"] == POD_UID or line["k8s"]["pod"] is None
    assert line["process"]["exit"]["code"] == 3
    assert line["process"]["exit"]["time_known"] is True
    assert line["parent"]["pid"] == maker.process.pid
    assert "python3" in line["parent"]["executable"]["path"]


def probe(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


def test_probes_and_metrics_answer(agent, zombies):
    port = free_port()
    with agent("probes", port=port) as one:
        until(lambda: probe(port, "/readyz")[0] == 200, message=one.err)
        assert probe(port, "/healthz")[0] == 200
        pid = zombies.make()
        until(lambda: events(one, "zombie_detected", pid), message=one.err)
        until(lambda: "zombie_tracer_zombies{" in probe(port, "/metrics")[1], message=one.err)
        assert 'zombie_tracer_source_info{source="core"} 1.0' in probe(port, "/metrics")[1]


def test_a_start_fails_no_probe_of_the_manifest(agent, container):
    """A failed probe is a Warning event. Under the manifest's limits, by a kubelet's clock."""
    port = free_port()
    began = time.monotonic()
    with agent("start", port=port) as one:
        until(lambda: probe(port, "/readyz")[0] == 200, message=one.err)
        ready = time.monotonic() - began
        first = container["startupProbe"]["initialDelaySeconds"]
        print(f"\nready {ready:.1f} s after the runtime's start; probed after {first} s")
        assert ready < first / 2
        assert probe(port, container["startupProbe"]["httpGet"]["path"])[0] == 200


def test_doctor_run_with_exec_reports_the_limits_and_rights_of_the_agent(agent):
    with agent("exec-doctor") as one:
        until(lambda: events(one, "agent_started"), message=one.err)
        done = one.exec("tracer", "doctor", "--no-kubernetes", "-o", "json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("cap_bpf", "cap_perfmon", "cap_sys_ptrace", "seccomp", "state_dir", "memory"):
        assert checks[name]["status"] == "ok", checks[name]
    assert checks["state_dir"]["result"].startswith("/run/zombie-tracer ")
    assert checks["memory"]["result"] == "the memory limit is 300 MiB"


@pytest.mark.parametrize("how", ["TERM", "KILL"])
def test_a_restart_logs_nothing_twice_and_forgets_nothing(agent, zombies, how):
    told = zombies.make()
    gone = zombies.make()
    first_agent, second_agent = agent(f"first-{how}"), agent(f"second-{how}")
    with first_agent as first:
        until(lambda: events(first, "zombie_detected", told), message=first.err)
        until(lambda: events(first, "zombie_detected", gone), message=first.err)
        known = zombies.make()
        until(lambda: events(first, "zombie_detected", known), message=first.err)
        down = time.monotonic()
        first.kill(how)
        status = first.wait()
        ended = time.monotonic()
        if how == "TERM":
            assert status == 0, first.err()
            assert len(events(first, "agent_stopped")) == 1
        zombies.reap(gone)
        meanwhile = zombies.make()
    begins = time.monotonic()
    with second_agent as second:
        until(lambda: events(second, "agent_started"), message=second.err)
        begun = time.monotonic()
        until(lambda: events(second, "zombie_detected", meanwhile), message=second.err)
        until(lambda: events(second, "zombie_reaped", gone), message=second.err)
        for pid in (told, gone, known):
            assert events(second, "zombie_detected", pid) == []
        zombies.reap(known)
        (line,) = until(lambda: events(second, "zombie_reaped", known), message=second.err)
        assert line["process"]["exit"]["time_known"] is True
        assert len(events(second, "zombie_detected", meanwhile)) == 1
    print(
        f"\nSIG{how}: {ended - down:.2f} s to end, {begun - begins:.2f} s from the runtime's start"
        " to agent_started"
    )


def test_a_second_agent_on_the_node_is_refused(agent):
    with agent("one") as first:
        until(lambda: events(first, "agent_started"), message=first.err)
        with agent("two") as second:
            assert second.wait() == 3
            (stopped,) = events(second, "agent_stopped")
            assert stopped["level"] == "error"
            assert f"pid {first.pid()}" in stopped["source"]["reason"]
            assert second.err() == ""


@pytest.mark.parametrize("option", ["ro", "size=4k"], ids=["read-only", "full"])
def test_trouble_with_the_state_folder_does_not_stop_it(agent, zombies, tmp_path, option):
    folder = tmp_path / "troubled"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", option, "none", str(folder))
    try:
        pids = {zombies.make() for _ in range(40)}
        with agent(f"troubled-{option[:2]}", state_folder=folder) as one:
            until(
                lambda: pids <= {e["process"]["pid"] for e in events(one, "zombie_detected")},
                message=lambda: one.err() + one.out()[-2000:],
            )
            one.kill("TERM")
            assert one.wait() == 0
            messages = [line["message"] for line in events(one, "agent_message")]
            assert len([message for message in messages if "the state in" in message]) == 1, (
                messages
            )
            assert one.err() == ""
    finally:
        run("umount", str(folder))


def test_without_host_pid_doctor_and_readiness_say_so(agent):
    port = free_port()
    with agent("no-host-pid", host_pid=False, port=port) as one:
        answer = until(
            lambda: [a for a in [probe(port, "/readyz")] if a[0] == 503 and "hostPID" in a[1]],
            message=lambda: f"{probe(port, '/readyz')} {one.err()} {one.out()}",
        )
        assert answer
        # It is alive and restarting it would not help.
        assert probe(port, "/healthz")[0] == 200
    with agent(
        "no-host-pid-doctor",
        program=("tracer", "doctor", "--no-kubernetes", "-o", "json"),
        host_pid=False,
    ) as one:
        assert one.wait() == 1
        report = json.loads(one.out())
    failed = [check for check in report["checks"] if check["status"] == "failed"]
    assert any("hostPID" in json.dumps(check) for check in failed)


@pytest.fixture
def watched(tree, tmp_path, agent):
    """Return what runs an example beside an agent and yields both."""

    @contextlib.contextmanager
    def play(name):
        pod = example_pod(name)
        (only,) = pod["containers"]
        config = oci_config("deploy/examples", pod, only, host_paths={})
        with agent(f"watches-{name}") as watcher:
            # Before the example: what is forked earlier has no known forker.
            until(lambda: events(watcher, "agent_started"), message=watcher.err)
            with started(config, tree, tmp_path, name) as example:
                until(example.running, message=example.err)
                yield watcher, example, only

    return play


def detected_in(watcher, example):
    """Return what was told of the container: the agent sees the cgroup that runc gave it."""
    return [
        line
        for line in events(watcher, "zombie_detected")
        if example.name in (line["process"]["linux"]["cgroup"] or "")
    ]


@pytest.mark.parametrize("name", ["parent-never-waits", "init-does-not-reap", "traced"])
def test_examples_run_under_the_restricted_standard(name, watched):
    with watched(name) as (watcher, example, _):
        lines = until(
            lambda: detected_in(watcher, example),
            message=lambda: example.err() + example.out() + watcher.err(),
        )
        assert lines[0]["process"]["user"]["id"] == 65532
        assert lines[0]["cause"]["code"] == name.replace("-", "_")


def test_the_probe_that_leaves_orphans_does_so_only_without_an_init(watched):
    with watched("exec-orphan") as (watcher, example, only):
        example.exec(*only["livenessProbe"]["exec"]["command"])
        lines = until(lambda: detected_in(watcher, example), message=watcher.err)
        assert lines[0]["process"]["executable"]["name"] == "sleep"
        assert lines[0]["cause"]["code"] == "exec_orphan"
    with watched("healthy-init") as (watcher, example, only):
        example.exec(*only["livenessProbe"]["exec"]["command"])
        init = example.pid()
        children = Path(f"/proc/{init}/task/{init}/children")
        # The orphan was reaped: sleep infinity is all that is left.
        until(lambda: len(children.read_text().split()) == 1, 5)
        assert detected_in(watcher, example) == []
