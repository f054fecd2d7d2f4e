"""/metrics, /healthz and /readyz over HTTP, in threads of their own."""

import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tracer.clock import boot_ns
from tracer.errors import TEMPORARY_ERRNOS, PermanentError, UsageError
from tracer.model.status import STALE_AFTER_SECONDS, StatusFunction, why_not_alive
from tracer.numbers import shown

_CONNECTIONS = 32
"""Connections at a time; further ones are closed, so that threads do not pile up."""

_TIMEOUT_SECONDS = 10
"""For a client to send its request and to read the answer."""

_ACCEPT_PAUSE_SECONDS = 0.1
"""Between two attempts to accept a connection when descriptors or memory have run out."""


_TEXT = "text/plain; charset=utf-8"
_PATHS = b"not found; this server has /metrics, /healthz and /readyz\n"


class Address(NamedTuple):
    """Where to listen. An empty host means every address, IPv4 and IPv6."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Parse HOST:PORT, [HOST]:PORT or :PORT.

    Raises:
        UsageError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not (
        port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    ):
        raise _bad_address(text)
    if bracketed or ":" in bare:
        try:
            ipaddress.IPv6Address(bare.partition("%")[0])
        except ValueError:
            raise _bad_address(text) from None
        if not bracketed:
            raise _bad_address(text)
    return Address(bare, int(port))


def _bad_address(text: str) -> UsageError:
    return UsageError(
        f"--metrics-address {shown(text)} is not HOST:PORT; write for example :9464,"
        " 127.0.0.1:9464 or [::1]:9464"
    )


class MetricsServer:
    """Serves until close(). Constructing it opens nothing.

    Args:
        address: where to listen.
        registry: the metrics of /metrics.
        status: the engine's status, for the probes.
        stale_after_seconds: how long the engine's loop may be silent before /healthz fails.
        clock: returns boot time in nanoseconds.
    """

    def __init__(
        self,
        address: Address,
        registry: CollectorRegistry,
        status: StatusFunction,
        *,
        stale_after_seconds: float = STALE_AFTER_SECONDS,
        clock: Callable[[], int] = boot_ns,
    ) -> None:
        self._address = address
        self.registry = registry
        self.status = status
        self.stale_after_seconds = stale_after_seconds
        self.clock = clock
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port listened on: the one given, or the one the kernel chose for port 0."""
        return self._address.port if self._server is None else self._server.server_port

    def start(self) -> None:
        """Listen, and serve from now on in threads.

        Raises:
            PermanentError: the address is in use, not of this machine, or not allowed.
        """
        self._server = _listen(self._address, self)
        threading.Thread(target=self._server.serve, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop listening. A second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()


def _listen(address: Address, owner: MetricsServer) -> "_Server":
    shown = f"[{address.host}]" if ":" in address.host else address.host
    where = f"--metrics-address {shown}:{address.port}"
    try:
        if not address.host:
            # A kernel without IPv6 (ipv6.disable=1) has only the second.
            with suppress(OSError):
                return _Server(socket.AF_INET6, ("::", address.port), owner)
            return _Server(socket.AF_INET, ("0.0.0.0", address.port), owner)  # noqa: S104 - asked for
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where_to = found[0]
        return _Server(family, where_to, owner)
    except socket.gaierror as error:
        raise PermanentError(
            f"{where}: the host name cannot be resolved ({error.strerror});"
            " give an address of this machine, or :PORT for all of them"
        ) from error
    except OSError as error:
        remedy = {
            errno.EADDRINUSE: "another program or agent is listening there;"
            " stop it or choose another port",
            errno.EADDRNOTAVAIL: "give an address of this machine, or :PORT for all of them",
            errno.EACCES: "choose a port above 1023",
        }.get(error.errno or 0, "choose another address")
        reason = os.strerror(error.errno or errno.EIO)
        raise PermanentError(f"{where}: {reason}: {remedy}") from error


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A restarted agent listens at once, though connections of the last one linger.
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, family: int, where: Any, owner: MetricsServer) -> None:
        self.address_family = family
        self.owner = owner
        self._stopping = threading.Event()
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6 and self.server_address[0] == "::":
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # HTTPServer's own would look the host's name up in the DNS.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def serve(self) -> None:
        """Serve until stop() without waking up in between: serve_forever() polls twice a second."""
        while not self._stopping.is_set():
            self.handle_request()
        self.server_close()

    def stop(self) -> None:
        """End serve(): a listening socket that is shut down becomes readable on Linux."""
        self._stopping.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection.

        One that cannot be accepted for want of descriptors or memory stays in the queue, and
        the socket stays readable: without a pause the thread would try without end.
        """
        try:
            return super().get_request()
        except OSError as error:
            if error.errno in TEMPORARY_ERRNOS:
                self._stopping.wait(_ACCEPT_PAUSE_SECONDS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # No thread can be created: PIDs have run out, and the probes must still be answered.
            self.process_request_thread(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a client that hangs up is not worth a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _TIMEOUT_SECONDS

    def do_GET(self) -> None:
        try:
            status, content_type, body = self._page()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must learn it
            status, content_type = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT
            body = f"internal error: {type(error).__name__}: {error}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _page(self) -> tuple[HTTPStatus, str, bytes]:
        owner = cast("_Server", self.server).owner
        match self.path.partition("?")[0]:
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                return HTTPStatus.OK, content_type, encode(owner.registry)
            case "/healthz":
                return _probe(
                    why_not_alive(owner.status(), owner.clock(), owner.stale_after_seconds)
                )
            case "/readyz":
                return _probe(owner.status().not_ready)
            case _:
                return HTTPStatus.NOT_FOUND, _TEXT, _PATHS

    def log_message(self, *_: Any) -> None:
        """Print nothing: a probe every few seconds is not worth a line."""


def _probe(why: str | None) -> tuple[HTTPStatus, str, bytes]:
    if why is None:
        return HTTPStatus.OK, _TEXT, b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{why}\n".encode()
