"""/metrics, /healthz and /readyz over HTTP, in a thread of their own."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from tracer.clock import boot_ns
from tracer.model.status import STALE_AFTER_SECONDS, StatusFunction, why_not_alive
from tracer.sinks.http_address import Address, listen, parse_address
from tracer.sinks.http_connections import Connections

__all__ = ["Address", "MetricsServer", "parse_address"]

_METRICS_KEPT_SECONDS = 1.0
"""The text of /metrics is made once in this time, whoever asks how often."""

_CLOSE_SECONDS = 1.0
"""To wait for the thread's end: it needs a millisecond."""

_OPENMETRICS = "application/openmetrics-text; version=1.0.0"
"""The one version of it served: clients may name any, and each would be a text to keep."""

_TEXT = "text/plain; charset=utf-8"
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_PATHS = b"not found; this server has /metrics, /healthz and /readyz\n"


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
        self._pages = _Pages(registry, status, stale_after_seconds, clock)
        self._connections: Connections | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port listened on: the one given, or the one the kernel chose for port 0."""
        return self._address.port

    def start(self) -> None:
        """Listen, and serve from a thread.

        Raises:
            PermanentError: the address cannot be listened on.
        """
        listener = listen(self._address)
        self._address = Address(self._address.host, listener.getsockname()[1])
        self._connections = Connections(listener, self._pages.answer)
        self._thread = threading.Thread(target=self._connections.serve, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening. A second call does nothing."""
        connections, self._connections = self._connections, None
        if connections is not None and self._thread is not None:
            connections.stop()
            self._thread.join(_CLOSE_SECONDS)


class _Pages:
    """Answers requests. All in memory: nothing here waits."""

    def __init__(
        self,
        registry: CollectorRegistry,
        status: StatusFunction,
        stale_after_seconds: float,
        clock: Callable[[], int],
    ) -> None:
        self._registry = registry
        self._status = status
        self._stale_after_seconds = stale_after_seconds
        self._clock = clock
        self._kept: dict[str, tuple[float, bytes]] = {}
        """By content type: until when the text of /metrics is good, and the text."""
        self._last = b""

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a request, both as sent over the connection."""
        try:
            answer = _Request(request, self).sent()
        except Exception:  # noqa: BLE001 - no client may end the thread that answers the probes
            return _BAD_REQUEST
        # Clients that read the same long text slowly share one copy.
        if answer != self._last:
            self._last = answer
        return self._last

    def page(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """Return the status, the content type and the body of a page."""
        match path.partition("?")[0]:
            case "/metrics":
                return HTTPStatus.OK, *self._metrics(accept)
            case "/healthz":
                now = self._clock()
                return _probe(why_not_alive(self._status(), now, self._stale_after_seconds))
            case "/readyz":
                return _probe(self._status().not_ready)
            case _:
                return HTTPStatus.NOT_FOUND, _TEXT, _PATHS

    def _metrics(self, accept: str) -> tuple[str, bytes]:
        wanted = _OPENMETRICS if _OPENMETRICS.partition(";")[0] in accept else ""
        encode, content_type = choose_encoder(wanted)
        now = time.monotonic()
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
        if content_type not in self._kept:
            self._kept[content_type] = (now + _METRICS_KEPT_SECONDS, encode(self._registry))
        return content_type, self._kept[content_type][1]


class _Request(BaseHTTPRequestHandler):
    """A request that has been read already, and its answer, both in memory."""

    protocol_version = "HTTP/1.1"
    server_version = "zombie-tracer"
    sys_version = ""

    def __init__(self, request: bytes, pages: _Pages) -> None:
        # The base class's own would read from a socket.
        self.rfile = BytesIO(request)
        self.wfile = self._answer = BytesIO()
        self._pages = pages
        self.handle_one_request()

    def sent(self) -> bytes:
        """Return the answer."""
        return self._answer.getvalue()

    def do_GET(self) -> None:
        try:
            status, content_type, body = self._pages.page(self.path, self.headers.get("Accept", ""))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must learn it
            status, content_type = HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT
            body = f"internal error: {type(error).__name__}: {error}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Print nothing: a probe every few seconds is not worth a line."""


def _probe(why: str | None) -> tuple[HTTPStatus, str, bytes]:
    if why is None:
        return HTTPStatus.OK, _TEXT, b"ok\n"
    return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"{why}\n".encode()
