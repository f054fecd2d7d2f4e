"""The probes and /metrics over real HTTP: answered at once, whatever clients and the loop do."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from support.records import NOW

from tracer.clock import NS
from tracer.errors import PermanentError, UsageError
from tracer.model.status import EngineStatus
from tracer.sinks.http import Address, MetricsServer, parse_address
from tracer.sinks.metrics import MetricsSink

STATUS = EngineStatus(last_tick_boot_ns=NOW, source="core", not_ready=None)


@pytest.fixture
def sink():
    return MetricsSink(lambda: STATUS, clock=lambda: NOW, process_metrics=False)


@pytest.fixture
def status():
    return [STATUS]


@pytest.fixture
def server(status, request):
    sink = MetricsSink(lambda: status[0])
    server = MetricsServer(
        Address(getattr(request, "param", "127.0.0.1"), 0),
        sink.registry,
        lambda: status[0],
        clock=lambda: NOW,
    )
    server.start()
    yield server
    server.close()
    server.close()


def get(server, path, host="127.0.0.1", method="GET"):
    request = urllib.request.Request(f"http://{host}:{server.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_are_served_with_those_of_the_process(server):
    code, text = get(server, "/metrics?x=1")
    assert code == 200
    assert 'zombie_tracer_source_info{source="core"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_openmetrics_is_served_to_who_asks_for_it(server):
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/metrics",
        headers={"Accept": "application/openmetrics-text; version=1.0.0"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


def test_not_ready_until_a_source_is_attached_with_the_reason(server, status):
    status[0] = EngineStatus(not_ready="no BPF here: CAP_BPF is missing")
    assert get(server, "/readyz") == (503, "no BPF here: CAP_BPF is missing\n")
    assert get(server, "/healthz") == (200, "ok\n")
    status[0] = STATUS
    assert get(server, "/readyz") == (200, "ok\n")


def test_unhealthy_when_the_loop_hangs(server, status):
    status[0] = replace(STATUS, last_tick_boot_ns=NOW - 31 * NS)
    assert get(server, "/healthz") == (503, "the loop has not ticked for 31 s\n")
    status[0] = STATUS
    assert get(server, "/healthz") == (200, "ok\n")


def test_other_paths_are_not_found_and_head_has_no_body(server):
    code, text = get(server, "/")
    assert code == 404
    assert "/metrics, /healthz and /readyz" in text
    assert get(server, "/healthz", method="HEAD") == (200, "")


def test_an_internal_error_is_shown(server, status):
    status[0] = None
    code, text = get(server, "/readyz")
    assert code == 500
    assert "AttributeError" in text
    status[0] = STATUS
    assert get(server, "/readyz")[0] == 200


@pytest.mark.parametrize("server", [""], indirect=True)
def test_no_host_means_every_address(server):
    assert get(server, "/healthz")[0] == 200
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        assert get(server, "/healthz", host="[::1]")[0] == 200


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
@pytest.mark.parametrize("server", ["::1"], indirect=True)
def test_an_ipv6_address_is_served(server):
    assert get(server, "/healthz", host="[::1]")[0] == 200


def assert_answered(code):
    """Run code in a process of its own; check that it prints that it was answered."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )
    assert done.stdout == "answered\n", done.stderr[-500:]


WITHOUT_THREADS = """
import os, resource, sys, urllib.request
from prometheus_client import CollectorRegistry
from tracer.model.status import EngineStatus
from tracer.sinks.http import Address, MetricsServer
os.setuid(54321)
server = MetricsServer(Address("127.0.0.1", 0), CollectorRegistry(), EngineStatus)
server.start()
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
for _ in range(40):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=5) as answer:
        assert answer.read() == b"ok\\n"
print("answered")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user that has a limit")
def test_probes_are_answered_when_no_thread_can_be_had():
    """Pids run out: the moment in which the agent must not be taken for dead."""
    assert_answered(WITHOUT_THREADS)


def test_a_closed_server_answers_no_more_and_its_address_is_free_at_once(server, sink):
    port = server.port
    assert get(server, "/healthz")[0] == 200
    server.close()
    successor = MetricsServer(
        Address("127.0.0.1", port), sink.registry, EngineStatus, clock=lambda: NOW
    )
    deadline = time.monotonic() + 5
    while True:
        try:
            successor.start()
            break
        except PermanentError:
            assert time.monotonic() < deadline
    assert get(successor, "/healthz")[0] == 200
    successor.close()


def test_an_address_in_use_is_said_with_the_remedy(server, sink):
    second = MetricsServer(Address("127.0.0.1", server.port), sink.registry, lambda: STATUS)
    with pytest.raises(
        PermanentError,
        match=rf"127.0.0.1:{server.port}: Address already in use: .*choose another port",
    ):
        second.start()
    second.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_of_another_machine_is_said(host, sink):
    with pytest.raises(PermanentError, match=r"give an address of this machine|choose another"):
        MetricsServer(Address(host, 0), sink.registry, lambda: STATUS).start()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":9464", ("", 9464)),
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:9464", ("::1", 9464)),
        ("[::]:9464", ("::", 9464)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9464",
        "localhost",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "::1:9464",
        "[::1]",
        "[x]:1",
        "h:²",
    ],
)
def test_what_is_not_an_address_is_quoted(text):
    with pytest.raises(UsageError, match="is not HOST:PORT") as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


WITHOUT_DESCRIPTORS = """
import os, resource, socket, time
from prometheus_client import CollectorRegistry
from tracer.model.status import EngineStatus
from tracer.sinks.http import Address, MetricsServer
server = MetricsServer(Address("127.0.0.1", 0), CollectorRegistry(), EngineStatus)
server.start()
client = socket.socket()
client.settimeout(10)
_, hard = limit = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
client.connect(("127.0.0.1", server.port))
client.sendall(b"GET /healthz HTTP/1.0\\r\\n\\r\\n")
began = time.process_time()
time.sleep(1)  # the time over which its use of the processor is measured
used = time.process_time() - began
assert used < 0.3, used
resource.setrlimit(resource.RLIMIT_NOFILE, limit)
assert client.recv(100).startswith(b"HTTP/1.1 200"), "no answer"
print("answered")
"""


def test_a_lack_of_descriptors_neither_spins_nor_loses_a_probe():
    assert_answered(WITHOUT_DESCRIPTORS)
