"""A small API server on a real socket: lists, pages, chunked watches, and real trouble.

What it sends has the form that kube-apiserver sends: HTTP/1.1 with chunked bodies, one
JSON object a line in a watch, Status objects for errors, bookmarks, resource versions.
"""

import json
import queue
import socket
import ssl
import struct
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def status(code, reason, message):
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


FORBIDDEN = 'pods is forbidden: User "system:serviceaccount:zt:zt" cannot {} resource "pods" in API group "" at the cluster scope'


class KubeApi:
    """The server.

    Attributes:
        token: what a request must bear; None lets everybody in.
        requests: (verb, query) of each request so far.
        list_troubles, watch_troubles: taken one for each request of that verb; names of
            the methods `_list_…` and `_watch_…` below, or an HTTP status.
        page: items a page, whatever the client asks; None for no pages.
    """

    def __init__(self, *, tls=None, page=None, version=1000, port=0):
        self.token = None
        self.requests = []
        self.list_troubles = deque()
        self.watch_troubles = deque()
        self.page = page
        self._pods = {}
        self._events = []
        self._oldest = 0
        self._version = version
        self._watchers = set()
        self._lock = threading.RLock()
        self.stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # clients that hang up are part of the tests
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def close(self):
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def put(self, pod):
        """Create or change a pod."""
        with self._lock:
            uid = pod["metadata"]["uid"]
            self._announce("MODIFIED" if uid in self._pods else "ADDED", pod)
            self._pods[uid] = pod

    def delete(self, pod):
        with self._lock:
            del self._pods[pod["metadata"]["uid"]]
            self._announce("DELETED", pod)

    def bookmark(self):
        with self._lock:
            self._announce("BOOKMARK", {"kind": "Pod", "apiVersion": "v1", "metadata": {}})

    def compact(self):
        """Forget old events: a watch from before now is answered with 410."""
        with self._lock:
            self._version += 1
            self._oldest = self._version
            self._events.clear()

    def cut(self):
        """Reset all watch connections."""
        with self._lock:
            for watcher in self._watchers:
                watcher.put("reset")

    def kubeconfig(self, path, token="secret", host=None):
        """Write a kubeconfig for this server and return its path."""
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {"server": host or f"http://127.0.0.1:{self.port}"},
                        }
                    ],
                    "users": [{"name": "test", "user": {"token": token}}],
                }
            )
        )
        return str(path)

    def _announce(self, kind, pod):
        self._version += 1
        stamped = json.loads(json.dumps(pod))
        stamped["metadata"]["resourceVersion"] = str(self._version)
        event = (self._version, {"type": kind, "object": stamped})
        self._events.append(event)
        for watcher in self._watchers:
            watcher.put(event)

    def _handler(api):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query).items()}
                verb = "watch" if query.get("watch") == "true" else "list"
                api.requests.append((verb, query))
                if api.token is not None and not self._is_authorized():
                    return self._status(status(401, "Unauthorized", "Unauthorized"))
                if url.path != "/api/v1/pods":
                    return self._status(status(404, "NotFound", url.path))
                troubles = api.list_troubles if verb == "list" else api.watch_troubles
                trouble = troubles.popleft() if troubles else None
                try:
                    if trouble == 403:
                        return self._status(status(403, "Forbidden", FORBIDDEN.format(verb)))
                    if isinstance(trouble, int):
                        return self._status(status(trouble, "ApiError", f"trouble {trouble}"))
                    return getattr(self, f"_{verb}_{trouble or 'well'}")(query)
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    self.close_connection = True

            def _is_authorized(self):
                scheme, _, token = self.headers.get("Authorization", "").partition(" ")
                return scheme.lower() == "bearer" and token == api.token

            def _status(self, body):
                text = json.dumps(body).encode()
                self.send_response(body["code"])
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def _begin(self):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()

            def _chunk(self, data):
                self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                self.wfile.flush()

            def _end(self):
                self.wfile.write(b"0\r\n\r\n")

            def _reset(self):
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.connection.close()
                self.close_connection = True

            def _list_text(self, query):
                with api._lock:
                    wanted = query["fieldSelector"].removeprefix("spec.nodeName=")
                    pods = [one for one in api._pods.values() if one["spec"]["nodeName"] == wanted]
                    start = int(query.get("continue", 0))
                    metadata = {"resourceVersion": str(api._version)}
                    if api.page and start + api.page < len(pods):
                        metadata["continue"] = str(start + api.page)
                    stop = start + api.page if api.page else None
                    # Items of a list carry neither kind nor apiVersion.
                    items = [
                        {k: v for k, v in one.items() if k not in ("kind", "apiVersion")}
                        for one in pods[start:stop]
                    ]
                body = {"kind": "PodList", "apiVersion": "v1", "metadata": metadata, "items": items}
                return json.dumps(body, separators=(",", ":")).encode() + b"\n"

            def _list_well(self, query):
                if int(query.get("resourceVersion") or 0) > api._version:
                    return self._status(status(504, "Timeout", "Too large resource version"))
                self._begin()
                self._chunk(self._list_text(query))
                self._end()
                return None

            def _list_slow(self, query):
                self._begin()
                text = self._list_text(query)
                for start in range(0, len(text), 997):
                    self._chunk(text[start : start + 997])
                    time.sleep(0.001)
                self._end()

            def _list_half(self, query):
                self._begin()
                text = self._list_text(query)
                self._chunk(text[: len(text) // 2])
                self._reset()

            def _list_cut_clean(self, query):
                self._begin()
                text = self._list_text(query)
                self._chunk(text[: len(text) // 2])
                self._end()

            def _list_hang(self, query):
                api.stopping.wait(20)

            def _list_garbage(self, query):
                self._begin()
                self._chunk(b"<html>Bad gateway</html>")
                self._end()

            def _list_null(self, query):
                self._begin()
                self._chunk(b'{"kind":"PodList","metadata":null,"items":[null,7,{"metadata":[]}]}')
                self._end()

            def _watch_well(self, query):
                mine = queue.Queue()
                since = int(query.get("resourceVersion") or 0)
                with api._lock:
                    if since < api._oldest:
                        self._begin()
                        gone = status(410, "Expired", f"too old resource version: {since}")
                        self._chunk(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
                        return self._end()
                    for event in api._events:
                        if event[0] > since:
                            mine.put(event)
                    api._watchers.add(mine)
                try:
                    self._begin()
                    deadline = time.monotonic() + int(query.get("timeoutSeconds", 60))
                    while time.monotonic() < deadline and not api.stopping.is_set():
                        try:
                            event = mine.get(timeout=0.02)
                        except queue.Empty:
                            continue
                        if event == "reset":
                            return self._reset()
                        self._chunk(json.dumps(event[1]).encode() + b"\n")
                    self._end()
                finally:
                    api._watchers.discard(mine)

            def _watch_end(self, query):
                self._begin()
                self._end()

            def _watch_garbage(self, query):
                self._begin()
                self._chunk(b"}{ this is no JSON\n")
                self._end()

            def _watch_odd(self, query):
                self._begin()
                self._chunk(b'["not an event"]\n')
                self._end()

            def _watch_half(self, query):
                """Send the first half of an event, then nothing more."""
                self._begin()
                self._chunk(b'{"type":"ADDED","object":{"metadata":{"name":"ha')
                api.stopping.wait(20)

            def _watch_half_chunk(self, query):
                """Announce a chunk, send less of it, and reset."""
                self._begin()
                self.wfile.write(b'ffff\r\n{"type":"ADDED","obj')
                self.wfile.flush()
                self._reset()

            def _watch_silent(self, query):
                self._begin()
                api.stopping.wait(20)

        return Handler
