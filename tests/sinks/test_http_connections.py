"""No client keeps a probe waiting, and none costs memory or threads without a bound."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from support import http_clients
from support.records import NOW
from support.zombies import wait_until

from tracer.model.status import EngineStatus, ZombieGroup
from tracer.sinks import http_connections
from tracer.sinks.http import Address, MetricsServer
from tracer.sinks.http_connections import ANSWERED_PLACES, PLACES_PER_ADDRESS, WAITING_PLACES
from tracer.sinks.metrics import MetricsSink

LONG = EngineStatus(
    last_tick_boot_ns=NOW,
    groups=tuple(
        ZombieGroup(f"namespace-{n}", f"pod-{n}", "app", cause, 1, NOW, 100)
        for n in range(250)
        for cause in ("traced", "parent_never_waits", "slow_reaper")
    ),
)
"""Its /metrics is too long for the kernel's buffers of a connection."""


@pytest.fixture
def server():
    sink = MetricsSink(lambda: LONG, clock=lambda: NOW)
    server = MetricsServer(Address("127.0.0.1", 0), sink.registry, lambda: LONG, clock=lambda: NOW)
    server.start()
    yield server
    server.close()


@pytest.fixture
def hostile(server):
    """Return what starts a program of hostile clients."""
    programs = []

    def start(kind, addresses, count=200):
        program = subprocess.Popen(
            [
                sys.executable,
                http_clients.__file__,
                kind,
                *map(str, (server.port, addresses, count)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        programs.append(program)
        assert program.stdout.readline() == "ready\n"

    yield start
    for program in programs:
        program.kill()
        program.wait()
        program.stdout.close()


def get(server, path, timeout=5, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def our_sockets():
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
        except OSError:
            continue
    return count


@pytest.mark.slow
@pytest.mark.parametrize("addresses", [1, 200])
@pytest.mark.parametrize("kind", http_clients.KINDS)
def test_probes_are_answered_within_a_second_whatever_clients_do(
    server, hostile, monkeypatch, kind, addresses
):
    monkeypatch.setattr(http_connections, "REQUEST_SECONDS", 1.0)
    threads, sockets = threading.active_count(), our_sockets()
    hostile(kind, addresses)
    # Longer than the deadline of a request: the old connections have gone, new ones have come.
    end = time.monotonic() + 2 * http_connections.REQUEST_SECONDS
    probes = 0
    while time.monotonic() < end:
        assert get(server, "/healthz", timeout=1) == (200, "ok\n")
        probes += 1
        time.sleep(0.02)  # a kubelet probes every few seconds; this is often enough to be unlucky
    assert probes > 20
    assert threading.active_count() == threads
    assert our_sockets() - sockets <= WAITING_PLACES + ANSWERED_PLACES + 1


@pytest.mark.slow
def test_a_scrape_is_whole_while_hostile_clients_read_theirs_byte_by_byte(server, hostile):
    hostile("reads", 200)
    for _ in range(20):
        status, text = get(server, "/metrics", Connection="keep-alive")
        assert status == 200
        families = {family.name: family for family in text_string_to_metric_families(text)}
        assert len(families["zombie_tracer_zombies"].samples) == 750


def connect(server, source="127.0.0.1"):
    client = socket.create_connection(("127.0.0.1", server.port), source_address=(source, 0))
    client.settimeout(10)
    return client


def is_closed(client):
    """Whether the server has closed the connection; waits until it has."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def is_open(client):
    client.settimeout(0)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_a_request_has_a_deadline_however_it_is_sent(server, monkeypatch):
    monkeypatch.setattr(http_connections, "REQUEST_SECONDS", 0.5)
    began = time.monotonic()
    silent, dribbling = connect(server), connect(server)
    client = threading.Thread(target=dribble, args=(dribbling,))
    client.start()
    assert is_closed(silent)
    client.join(10)
    assert 0.4 < time.monotonic() - began < 2


def dribble(client):
    try:
        while True:
            client.send(b"x")
            time.sleep(0.01)
    except OSError:
        client.close()


def test_an_answer_has_a_deadline_however_it_is_read(server, monkeypatch):
    monkeypatch.setattr(http_connections, "CONNECTION_SECONDS", 0.5)
    began = time.monotonic()
    client = http_clients.Client("reads", server.port, "127.0.0.1")
    wait_until(lambda: not client.step(), what="the end of the connection")
    client.socket.close()
    assert 0.4 < time.monotonic() - began < 2
    assert client.read > 1


def test_a_client_that_closes_its_side_first_gets_its_whole_answer(server):
    """As `nc -N` does."""
    client = connect(server)
    client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    answer = b""
    while received := client.recv(4096):
        answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head


def test_an_address_loses_its_own_oldest_connection(server):
    other = connect(server, "127.0.0.3")
    ours = [connect(server, "127.0.0.2") for _ in range(PLACES_PER_ADDRESS + 2)]
    assert all(is_closed(client) for client in ours[:2])
    assert all(is_open(client) for client in [*ours[2:], other])


def test_a_request_too_long_is_refused(server):
    client = connect(server)
    client.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 9000)
    assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_an_idle_server_does_not_wake_up(server):
    assert get(server, "/healthz")[0] == 200
    (thread,) = (each for each in threading.enumerate() if each.name == "metrics")
    status = Path(f"/proc/self/task/{thread.native_id}/status")

    def switches():
        return int(status.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    wait_until(lambda: our_state(thread) == "S", what="the server's sleep")
    before = switches()
    time.sleep(1)  # the time over which it must not wake up
    assert switches() == before


def our_state(thread):
    stat = Path(f"/proc/self/task/{thread.native_id}/stat").read_text()
    return stat.rpartition(")")[2].split()[0]


def test_metrics_are_rendered_once_a_second_whatever_version_is_asked_for():
    rendered = []

    class Counting(CollectorRegistry):
        def collect(self):
            rendered.append(1)
            return super().collect()

    server = MetricsServer(Address("127.0.0.1", 0), Counting(), EngineStatus)
    for version in range(50):
        accept = f"application/openmetrics-text; version=1.0.{version}"
        request = f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode()
        assert server._pages.answer(request).startswith(b"HTTP/1.1 200 ")
    assert len(rendered) <= 2


def test_clients_that_read_the_same_text_share_one_copy(server):
    def pair():
        one, two = (server._pages.answer(http_clients.METRICS) for _ in range(2))
        return one is two

    # Unless a second ends between the two, as the text says in its Date header.
    assert pair() or pair()


PAGES = MetricsServer(Address("127.0.0.1", 0), CollectorRegistry(), EngineStatus)._pages


@given(
    st.binary(max_size=500)
    | st.builds(
        lambda path, headers: b"GET " + path + b" HTTP/1.1\r\n" + headers + b"\r\n\r\n",
        st.sampled_from([b"/healthz", b"/metrics", b"/x", b"\xff"]),
        st.binary(max_size=300),
    )
)
def test_whatever_is_sent_gets_an_answer(request):
    answer = PAGES.answer(request + b"\r\n\r\n")
    assert answer == b"" or b" " in answer
