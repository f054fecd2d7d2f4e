"""Keep the pod index up to date: a thread that lists this node's pods, then watches them.

The protocol is the API's own (kubernetes.io/docs/reference/using-api/api-concepts,
"Efficient detection of changes"). Nothing waits for this thread: when the API server is
slow, unreachable or sends nonsense, the index is not updated, and that is all.
"""

import logging
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from tracer.clock import NS, boot_ns
from tracer.kubernetes import client
from tracer.kubernetes.config import Access
from tracer.kubernetes.errors import ApiError, from_error, from_status
from tracer.kubernetes.index import PodIndex
from tracer.kubernetes.pod import parse_pod
from tracer.kubernetes.stream import LineReader, ListReader

_log = logging.getLogger(__name__)

_PATH = "/api/v1/pods"


_PAGE = 250
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Timing:
    """Timeouts and delays of the watch, in seconds.

    Attributes:
        connect: for a connection.
        read: for the next byte. An API server sends a bookmark about once a minute: a
            connection that is silent for longer is considered dead and replaced.
        listing: for a whole list.
        watching: after which the API server is asked to end a watch.
        backoff_first, backoff_most: between tries, doubled each time, before jitter.
    """

    connect: float = 5.0
    read: float = 90.0
    listing: float = 60.0
    watching: int = 280
    backoff_first: float = 0.5
    backoff_most: float = 30.0


class _WatchError(Exception):
    def __init__(self, explained: ApiError) -> None:
        super().__init__(explained.message)
        self.explained = explained


class PodWatch:
    """The thread. Its attributes may be read from any other.

    Args:
        access: how to reach the API server.
        node_name: whose pods are watched.
        index: kept up to date; its `expecting` and `synced` are set.

    Attributes:
        up: the API server answered the last request, and nothing has failed since.
        synced: all pods were listed at least once.
        last_error: the last failure, kept after recovery; None when there was none.
        reconnects: failures that were followed by another attempt.
    """

    def __init__(
        self,
        access: Access,
        node_name: str,
        index: PodIndex,
        *,
        timing: Timing = Timing(),
        jitter: Callable[[], float] = random.random,
        now_boot_ns: Callable[[], int] = boot_ns,
    ) -> None:
        self.up = False
        self.last_error: str | None = None
        self.reconnects = 0
        self._access = access
        self._node_name = node_name
        self._index = index
        self._timing = timing
        self._jitter = jitter
        self._now_boot_ns = now_boot_ns
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="pod-watch", daemon=True)
        self._api: Any = None
        self._response: Any = None
        self._version: str | None = None
        self._must_list = True
        self._failures = 0
        self._flowing = False

    @property
    def synced(self) -> bool:
        """All pods were listed at least once."""
        return self._index.synced

    def start(self) -> None:
        """Begin; returns at once."""
        self._index.expecting = True
        self._thread.start()

    def stop(self, timeout_seconds: float = 1.0) -> None:
        """End the thread. One that hangs in a connection is left running (it is a daemon)."""
        self._stopping.set()
        deadline = self._now_boot_ns() + int(timeout_seconds * NS)
        while self._thread.is_alive() and self._now_boot_ns() < deadline:
            shutdown = getattr(self._response, "shutdown", None)  # urllib3 2.3 and later
            if shutdown is not None:
                try:
                    shutdown()
                except (OSError, ValueError, RuntimeError) as error:  # closed in the meantime
                    _log.debug("stopping the pod watch: %s", error)
            self._thread.join(0.02)

    def _run(self) -> None:
        while not self._stopping.is_set():
            verb = "list" if self._must_list else "watch"
            self._flowing = False
            try:
                if self._api is None:
                    self._api = self._access.load()
                if self._must_list:
                    self._list()
                else:
                    self._watch()
            except Exception as error:  # noqa: BLE001 - this thread must outlive any answer
                self._recover(error, verb)

    def _recover(self, error: Exception, verb: str) -> None:
        if self._stopping.is_set():
            return
        failure = (
            error.explained
            if isinstance(error, _WatchError)
            else from_error(error, verb, self._access.origin)
        )
        if verb == "watch" and self._flowing and type(error).__name__ == "ReadTimeoutError":
            return  # an idle watch; the next request shows whether the server still answers
        self._failures += 1
        _log.debug("%s; retrying", failure.message)
        self.up = False
        self._index.expecting = False
        self.last_error = failure.message
        self.reconnects += 1
        self._index.expire(self._now_boot_ns())
        if failure.relist:
            # From "any version" a second time could give the same old one (client-go's
            # reflector falls back to the newest in the same way).
            self._must_list, self._version = True, ""
        if failure.reload:
            self._api = None
        if (failure.reload or failure.relist) and self._failures == 1:
            return  # a rotated token or a compacted version is normal: no need to wait
        most = self._timing.backoff_first * 2.0 ** min(self._failures - 1, 16)
        delay = min(most, self._timing.backoff_most) * (0.5 + self._jitter() / 2)
        self._stopping.wait(delay)

    def _answered(self) -> None:
        if not self.up:
            _log.debug("watching the pods of node %s (%s)", self._node_name, self._access.origin)
        self.up = self._flowing = True
        self._index.expecting = True

    def _list(self) -> None:
        """Read all pods, page by page, keeping of each only what the index keeps."""
        deadline = self._now_boot_ns() + int(self._timing.listing * NS)
        seen: set[str] = set()
        position: list[tuple[str, str]] = [
            # Version 0 and the last one seen are answered from the API server's cache,
            # which knows pods by node; "" would read every pod of the cluster from etcd.
            ("resourceVersion", "0" if self._version is None else self._version)
        ]
        while True:
            reader = ListReader()
            for piece in self._request([("limit", str(_PAGE)), *position]):
                for item in reader.feed(piece):
                    seen.add(self._apply(item))
                if self._now_boot_ns() > deadline:
                    raise TimeoutError(f"listing the pods took over {self._timing.listing:.0f} s")
            if not reader.done:
                raise ValueError("the list of pods was cut short")
            if reader.rest.get("kind") not in ("PodList", "List"):
                raise ValueError(f"not a list of pods: {str(reader.rest)[:200]}")
            metadata = reader.rest.get("metadata") or {}
            if not metadata.get("continue"):
                break
            position = [("continue", metadata["continue"])]
        self._version = str(metadata.get("resourceVersion") or "")
        now = self._now_boot_ns()
        self._index.retain(seen, now)
        self._index.expire(now)
        self._must_list = False
        self._index.synced = True
        self._answered()
        self._failures = 0
        if not seen:
            _log.warning(
                "the API server lists no pods on node %s; if pods do run here, set "
                "--node-name to this node's name in the cluster",
                self._node_name,
            )

    def _watch(self) -> None:
        """Follow changes until the API server ends the watch."""
        query = [
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", self._version or ""),
            ("timeoutSeconds", str(int(self._timing.watching * (1 + self._jitter() / 8)))),
        ]
        reader = LineReader()
        began = self._now_boot_ns()
        for piece in self._request(query):
            for event in reader.feed(piece):
                self._take(event)
                self._failures = 0
            if self._stopping.is_set():
                return
        # An end in good order is followed by the next watch at once, but a proxy that
        # ends every watch immediately must not be asked in a busy loop.
        if self._now_boot_ns() - began < NS:
            self._stopping.wait(self._timing.backoff_first)

    def _take(self, event: Any) -> None:
        if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
            raise _WatchError(ApiError(f"not a watch event: {str(event)[:200]!r}"))
        kind, seen = event.get("type"), event["object"]
        if kind == "ERROR":
            code = seen.get("code")
            status = code if isinstance(code, int) else 500
            message = str(seen.get("message") or "")
            raise _WatchError(from_status(status, message, "watch", self._access.origin))
        if kind in ("ADDED", "MODIFIED"):
            self._apply(seen)
        elif kind == "DELETED":
            self._index.delete(self._apply(seen), self._now_boot_ns())
        self._index.expire(self._now_boot_ns())
        version = (seen.get("metadata") or {}).get("resourceVersion")
        if isinstance(version, str) and version:
            self._version = version

    def _apply(self, raw: object) -> str:
        pod = parse_pod(raw)
        if pod.node in (None, self._node_name):
            self._index.apply(pod)
        return pod.uid

    def _request(self, query: list[tuple[str, str]]) -> Iterator[bytes]:
        """Ask for this node's pods and yield the answer as it comes."""
        response = client.get(
            self._api,
            _PATH,
            [("fieldSelector", f"spec.nodeName={self._node_name}"), *query],
            timeout_seconds=(self._timing.connect, self._timing.read),
        )
        self._response = response
        with closing(response):
            if ("watch", "true") in query:
                self._answered()
            yield from response.stream(_PIECE, decode_content=True)
