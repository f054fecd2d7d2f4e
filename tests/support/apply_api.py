"""An API server that `kubectl apply` can talk to: it stores objects and notes what was written."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KINDS = {
    "v1": {
        "Namespace": False,
        "ServiceAccount": True,
        "ConfigMap": True,
        "Service": True,
        "Pod": True,
    },
    "apps/v1": {"DaemonSet": True},
    "networking.k8s.io/v1": {"NetworkPolicy": True},
    "rbac.authorization.k8s.io/v1": {
        "ClusterRole": False,
        "ClusterRoleBinding": False,
        "RoleBinding": True,
    },
    "scheduling.k8s.io/v1": {"PriorityClass": False},
}
"""By version: its kinds, and whether they are in a namespace."""

OPENSHIFT = {"security.openshift.io/v1": {"SecurityContextConstraints": False}}

NOT_STORED = {"PriorityClass": ("globalDefault",)}
"""Fields of those kinds that the real server leaves out of its answers when they are false
(json:",omitempty" on what is no pointer, k8s.io/api/scheduling/v1/types.go)."""


class ApplyApi:
    """Serves until close().

    Attributes:
        written: (method, kind) of each request that created or changed an object.
    """

    def __init__(self, kinds: dict[str, dict[str, bool]]) -> None:
        self.kinds = kinds
        self.objects: dict[str, Any] = {}
        self.written: list[tuple[str, str]] = []
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        url = f"http://127.0.0.1:{self._server.server_port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
        }
        path.write_text(json.dumps(config))
        return path

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def discovery(self, path: str) -> dict[str, Any] | None:
        """Return the answer to a question about kinds; None when there is no such version."""
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            groups = [version for version in self.kinds if "/" in version]
            return {"kind": "APIGroupList", "groups": [_group(each) for each in groups]}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version not in self.kinds:
            return None
        verbs = ["get", "list", "create", "patch", "delete"]
        resources = [
            {"name": _plural(kind), "namespaced": namespaced, "kind": kind, "verbs": verbs}
            for kind, namespaced in self.kinds[version].items()
        ]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}


def _group(version: str) -> dict[str, Any]:
    name, _, short = version.partition("/")
    entry = {"groupVersion": version, "version": short}
    return {"name": name, "versions": [entry], "preferredVersion": entry}


def _plural(kind: str) -> str:
    lower = kind.lower()
    if lower.endswith("y"):
        return lower[:-1] + "ies"
    return lower if lower.endswith("ints") else lower + ("es" if lower.endswith("s") else "s")


class _Handler(BaseHTTPRequestHandler):
    api: ApplyApi

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self._send(self.api.discovery(path) or self.api.objects.get(path))

    def do_POST(self) -> None:
        made = self._body()
        self.api.written.append(("create", made["kind"]))
        stored = {k: v for k, v in made.items() if k not in NOT_STORED.get(made["kind"], ())}
        path = self.path.partition("?")[0]
        self.api.objects[f"{path}/{made['metadata']['name']}"] = stored
        self._send(stored, 201)

    def do_PATCH(self) -> None:
        self._body()
        stored = self.api.objects[self.path.partition("?")[0]]
        self.api.written.append(("patch", stored["kind"]))
        self._send(stored)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _send(self, answer: Any, status: int = 200) -> None:
        if answer is None:
            status = 404
            answer = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "reason": "NotFound",
                "code": 404,
            }
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
