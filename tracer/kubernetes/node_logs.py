"""Pod and container names from the node's log folders, without the API.

The kubelet keeps, for each container it starts,
/var/log/pods/<namespace>_<pod>_<uid>/<container>/<restart>.log and a link to it,
/var/log/containers/<pod>_<namespace>_<container>-<id>.log (pkg/kubelet/kuberuntime,
legacy.go: LogSymlink). For a static pod, <uid> is its config hash.
"""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tracer.clock import NS, boot_ns
from tracer.model import Container, Workload, WorkloadSource

_RESCAN_NS = NS
"""Folders are read again at most once a second, whoever asks."""

# No name of a namespace, pod or container can contain an underscore (RFC 1123).
_LINK = re.compile(
    r"(?P<pod>[^_]+)_(?P<namespace>[^_]+)_(?P<container>[^_]+)-(?P<id>[0-9a-f]{64})\.log"
)
_FOLDER = re.compile(r"(?P<namespace>[^_]+)_(?P<pod>[^_]+)_(?P<uid>[^_]+)")


class LogNames(NamedTuple):
    """The names in one link or folder name; None for those that it does not have."""

    namespace: str
    pod: str
    container: str | None = None
    uid: str | None = None


def parse_links(names: Iterable[str]) -> dict[str, LogNames]:
    """Read link names of /var/log/containers into names by container id."""
    matches = (_LINK.fullmatch(name) for name in names)
    return {
        match["id"]: LogNames(match["namespace"], match["pod"], match["container"])
        for match in matches
        if match is not None
    }


def parse_folders(names: Iterable[str]) -> dict[str, LogNames]:
    """Read folder names of /var/log/pods into names by pod UID or config hash."""
    matches = (_FOLDER.fullmatch(name) for name in names)
    return {
        match["uid"]: LogNames(match["namespace"], match["pod"], uid=match["uid"])
        for match in matches
        if match is not None
    }


class NodeLogs:
    """Looks pods up in the log folders below a root. Never raises: no folder, no names.

    Args:
        root: of the node's files.
        now_boot_ns: the clock that limits how often folders are read.
    """

    def __init__(self, root: Path = Path("/"), *, now_boot_ns: Callable[[], int] = boot_ns) -> None:
        self._links = root / "var/log/containers"
        self._folders = root / "var/log/pods"
        self._now_boot_ns = now_boot_ns
        self._read_boot_ns: int | None = None
        self._stamps: tuple[int | None, int | None] = (None, None)
        self._by_container: dict[str, LogNames] = {}
        self._by_uid: dict[str, LogNames] = {}

    def lookup(self, container: Container) -> Workload | None:
        """Find the pod, and by its id the container; None when the folders do not name it."""
        found = self._find(container)
        if not self._complete(container, found):
            self._refresh()
            found = self._find(container)
        if found is None:
            return None
        return Workload(
            namespace=found.namespace,
            pod=found.pod,
            pod_uid=container.pod_uid,
            container=found.container,
            source=WorkloadSource.NODE_LOGS,
        )

    @staticmethod
    def _complete(container: Container, found: LogNames | None) -> bool:
        return found is not None and (container.id is None or found.container is not None)

    def _find(self, container: Container) -> LogNames | None:
        by_id = None if container.id is None else self._by_container.get(container.id)
        uid = container.pod_uid or container.config_hash
        by_uid = None if uid is None else self._by_uid.get(uid)
        if by_id is None or by_uid is None:
            return by_id or by_uid
        return by_id if by_id[:2] == by_uid[:2] else None  # the id is another pod's

    def _refresh(self) -> None:
        now = self._now_boot_ns()
        if self._read_boot_ns is not None and now - self._read_boot_ns < _RESCAN_NS:
            return
        self._read_boot_ns = now
        # A folder's own times change with every name added or removed, so that an
        # unchanged folder of a thousand pods costs one stat and no reading.
        stamps = (_stamp(self._links), _stamp(self._folders))
        if stamps == self._stamps:
            return
        self._stamps = stamps
        self._by_container = parse_links(_names(self._links))
        self._by_uid = parse_folders(_names(self._folders))


def _stamp(folder: Path) -> int | None:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return None


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:  # not mounted into the agent's container, or not readable
        return []
