"""The agent's socket: who may reach it, and what clients that misbehave cannot do."""

import contextlib
import json
import os
import resource
import select
import socket
import stat
import threading

import pytest
from support.serving import DEADLINE_SECONDS, Peer, ask, serving
from support.zombies import wait_until

from tracer.agent.serve import server as server_module
from tracer.agent.serve import worker as worker_module
from tracer.agent.serve.client import OUTPUT_LIMIT_BYTES, ClientGone
from tracer.agent.serve.server import MOST_CLIENTS
from tracer.protocol import REQUEST_LIMIT_BYTES, SOCKET


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def connect(folder):
    with contextlib.ExitStack() as stack:

        def connect():
            peer = Peer(folder)
            stack.callback(peer.close)
            return peer

        yield connect


def echo(request, client):
    client.out(" ".join(request.arguments) + "\n")
    client.err(f"{request.columns} {request.environment.get('TZ')}\n")
    return 7


def test_a_request_is_answered(folder, connect):
    with serving(folder, echo):
        line = ask("scan", "--by", "pod", columns=132, environment={"TZ": "UTC"}, unknown=[])
        assert connect().send(line).answers() == [
            {"out": "--by pod\n"},
            {"err": "132 UTC\n"},
            {"exit": 7},
        ]


def test_a_request_in_pieces(folder, connect):
    with serving(folder, echo):
        peer = connect()
        for byte in ask("explain", "4711"):
            peer.send(bytes([byte]))
        assert peer.answers()[0] == {"out": "4711\n"}


def test_only_this_user_may_reach_the_socket(folder):
    (folder / "state").write_text("")
    with serving(folder, echo):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600


def test_the_socket_is_closed_to_others_from_its_first_moment(folder):
    """Whatever the umask: it is the mode with which bind(2) makes the file."""
    before = os.umask(0)
    try:
        with serving(folder, echo):
            assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_what_a_killed_agent_left_is_replaced(folder, connect):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(folder / SOCKET))
    with pytest.raises(ConnectionRefusedError):
        Peer(folder)
    with serving(folder, echo):
        assert connect().send(ask()).answers()[-1] == {"exit": 7}


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda folder: (folder / "notes").write_text("mine"), "files of others, such as 'notes'"),
        (lambda folder: folder.chmod(0o777), "other users may write to it"),
        (lambda folder: folder.rmdir(), "No such file"),
    ],
    ids=["other files", "writable", "missing"],
)
def test_where_it_cannot_listen_it_says_so_once_and_works_on(folder, prepare, reason, caplog):
    prepare(folder)
    mode = folder.stat().st_mode if folder.exists() else None
    with serving(folder, echo):
        [record] = caplog.records
        assert record.levelname == "WARNING"
        assert reason in record.getMessage()
        assert "--state-dir" in record.getMessage()
        assert not (folder / SOCKET).exists()
    assert mode is None or folder.stat().st_mode == mode


def test_a_path_that_is_too_long_for_a_socket(tmp_path, caplog):
    folder = tmp_path / ("d" * 120)
    folder.mkdir(mode=0o700)
    with serving(folder, echo):
        assert "107 bytes" in caplog.text


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x00\xff\n",
        b"[]\n",
        b"[" * 10_000 + b"\n",
        ask("emulate"),
        json.dumps({"tracer": 1, "command": "scan", "arguments": "--by pod"}).encode() + b"\n",
        ask(environment={"TZ": 1}),
        b"x" * (REQUEST_LIMIT_BYTES + 1),
    ],
    ids=["http", "bytes", "list", "deep", "command", "arguments", "environment", "long"],
)
def test_nonsense_is_refused(folder, connect, line):
    with serving(folder, echo):
        assert "request" in connect().send(line).error()
        assert connect().send(ask()).answers()[-1] == {"exit": 7}


def test_another_version_is_asked_to_do_it_alone(folder, connect):
    with serving(folder, echo):
        said, last = connect().send(b'{"tracer": 2}\n').answers()
        assert "version 1" in said["err"]
        assert last == {"exit": 3, "other_version": True}


def test_a_client_that_asks_nothing_is_disconnected(folder, connect, monkeypatch):
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.3)
    with serving(folder, echo):
        dripping = connect().send(b"{")
        assert "no request came" in dripping.error()


def test_more_clients_than_it_serves(folder, connect):
    release = threading.Event()

    def wait(_request, _client):
        release.wait(DEADLINE_SECONDS)
        return 0

    with serving(folder, wait):
        peers = [connect().send(ask()) for _ in range(MOST_CLIENTS)]
        assert f"serves {MOST_CLIENTS} clients" in connect().error()
        release.set()
        assert [peer.answers() for peer in peers] == [[{"exit": 0}]] * MOST_CLIENTS
        assert connect().send(ask()).answers() == [{"exit": 0}]


def test_a_request_that_waits_too_long_is_refused(folder, connect, monkeypatch):
    monkeypatch.setattr(worker_module, "BUSY_SECONDS", 0.3)
    release = threading.Event()

    def wait(_request, _client):
        release.wait(DEADLINE_SECONDS)
        return 0

    with serving(folder, wait):
        first = connect().send(ask())
        assert "busy" in connect().send(ask()).error()
        release.set()
        assert first.answers() == [{"exit": 0}]


def endless(_request, client):
    """Write until the client is gone, and remember that it noticed."""
    try:
        while True:
            client.out("x" * 10_000)
    except ClientGone:
        noticed.set()
        raise


noticed = threading.Event()


def test_a_client_that_does_not_read_makes_room_for_others(folder, connect, monkeypatch):
    """Its output is bounded, and the command stops; the next one runs."""
    monkeypatch.setattr(server_module, "STALLED_SECONDS", 0.3)
    noticed.clear()

    def handle(request, client):
        return endless(request, client) if request.command == "scan" else 0

    with serving(folder, handle) as server:
        slow = connect().send(ask())
        wait_until(lambda: any(client.waiting_bytes() for client in server._clients.values()))
        assert connect().send(ask("explain")).answers() == [{"exit": 0}]
        assert noticed.is_set()
        assert "read too slowly" in slow.error()


def test_a_pager_may_pause_while_nobody_waits(folder, connect, monkeypatch):
    monkeypatch.setattr(server_module, "STALLED_SECONDS", 0.1)
    size = 4 * OUTPUT_LIMIT_BYTES

    def long(_request, client):
        client.out("x" * size)
        return 0

    with serving(folder, long):
        peer = connect().send(ask())
        assert not select.select([], [], [], 0.5)[0]  # several times as long as others may stall
        text = "".join(answer.get("out", "") for answer in peer.answers())
        assert len(text) == size


def test_a_client_that_disconnects_ends_its_command(folder, connect):
    noticed.clear()
    with serving(folder, endless) as server:
        peer = connect().send(ask())
        peer.socket.recv(1)
        peer.close()
        assert noticed.wait(DEADLINE_SECONDS)
        wait_until(lambda: not server._clients)


def test_a_command_that_fails_is_reported_and_the_next_one_runs(folder, connect, caplog):
    def fail(request, _client):
        if request.command == "scan":
            raise KeyError("oops")
        return 0

    with serving(folder, fail):
        error = connect().send(ask()).error()
        assert "internal error (KeyError" in error
        assert "scan failed" in caplog.text
        assert connect().send(ask("explain")).answers() == [{"exit": 0}]


def test_garbage_after_the_request_ends_a_client(folder, connect):
    started = threading.Event()

    def stay(_request, client):
        client.on_line = lambda line: None
        started.set()

    with serving(folder, stay):
        peer = connect().send(ask("follow"))
        assert started.wait(DEADLINE_SECONDS)
        peer.send(b"x" * 100_000)
        assert "too long" in peer.error()


def test_no_descriptor_left_for_a_client(folder, caplog):
    """It waits in the queue of the socket until there is one."""
    with serving(folder, echo), socket.socket(socket.AF_UNIX) as made:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        held = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, limit[1]))
            with contextlib.suppress(OSError):  # EMFILE
                while True:
                    held.append(os.open("/dev/null", os.O_RDONLY))
            caplog.set_level("DEBUG")
            waiting = Peer(folder, made).send(ask())
            wait_until(lambda: "cannot accept a client" in caplog.text)
        finally:
            for descriptor in held:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert waiting.answers()[-1] == {"exit": 7}
