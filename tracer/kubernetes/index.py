"""The node's pods by container id, pod UID and config hash.

No I/O and no clock. One thread writes (the watch), another reads (the engine): every
method takes the lock, none holds it longer than one pod takes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import Lock

from tracer.clock import NS
from tracer.kubernetes.pod import Pod, PodContainer
from tracer.model import Container, Workload, WorkloadSource

KEEP_DELETED_NS = 600 * NS
"""Zombies outlive the records of their pods: a deleted pod stays known for so long."""

_KEEP_IDS = 64
"""Container ids remembered for one pod: a crash loop must not grow without bound."""


@dataclass(slots=True)
class _Entry:
    pod: Pod
    names: dict[str, str]
    """Container name by container id, of earlier runs too, oldest first."""
    deleted_boot_ns: int | None = None


class PodIndex:
    """Pods by the keys that a cgroup path gives.

    Attributes:
        expecting: an unknown pod may still arrive: the watch is starting or up.
        synced: all pods of the node were read at least once.
    """

    def __init__(self) -> None:
        self.expecting = False
        self.synced = False
        self._lock = Lock()
        self._entries: dict[str, _Entry] = {}
        self._uid_by_container: dict[str, str] = {}
        self._uid_by_hash: dict[str, str] = {}

    def __len__(self) -> int:
        """Return the number of pods known, deleted ones included."""
        return len(self._entries)

    def apply(self, pod: Pod) -> None:
        """Take a pod as it is now."""
        with self._lock:
            old = self._entries.get(pod.uid)
            entry = _Entry(pod, {} if old is None else old.names)
            self._entries[pod.uid] = entry
            for container in pod.containers:
                for container_id in container.ids:
                    entry.names[container_id] = container.name
                    self._uid_by_container[container_id] = pod.uid
            while len(entry.names) > _KEEP_IDS:
                oldest = next(iter(entry.names))
                del entry.names[oldest]
                self._uid_by_container.pop(oldest, None)
            if pod.config_hash is not None:
                self._claim_hash(pod.config_hash, pod.uid)

    def _claim_hash(self, config_hash: str, uid: str) -> None:
        """Let a pod have a config hash unless a living pod has it already.

        Anybody who may create pods may write that annotation on one of them, and must
        not take over a static pod's name by it.
        """
        holder = self._entries.get(self._uid_by_hash.get(config_hash, ""))
        if holder is None or holder.deleted_boot_ns is not None:
            self._uid_by_hash[config_hash] = uid

    def delete(self, uid: str, now_boot_ns: int) -> None:
        """Mark a pod as deleted from now on; it is forgotten by expire()."""
        with self._lock:
            entry = self._entries.get(uid)
            if entry is not None and entry.deleted_boot_ns is None:
                entry.deleted_boot_ns = now_boot_ns

    def retain(self, uids: Iterable[str], now_boot_ns: int) -> None:
        """Mark all pods as deleted that a complete list did not show."""
        shown = set(uids)
        with self._lock:
            missing = [uid for uid in self._entries if uid not in shown]
        for uid in missing:
            self.delete(uid, now_boot_ns)

    def expire(self, now_boot_ns: int) -> None:
        """Forget the pods that have been deleted for KEEP_DELETED_NS."""
        with self._lock:
            old = [
                uid
                for uid, entry in self._entries.items()
                if entry.deleted_boot_ns is not None
                and now_boot_ns - entry.deleted_boot_ns >= KEEP_DELETED_NS
            ]
            for uid in old:
                entry = self._entries.pop(uid)
                for container_id in entry.names:
                    self._uid_by_container.pop(container_id, None)
                config_hash = entry.pod.config_hash
                if config_hash is not None and self._uid_by_hash.get(config_hash) == uid:
                    del self._uid_by_hash[config_hash]

    def lookup(self, container: Container) -> Workload | None:
        """Find the pod of a container: by its id, else by pod UID, else by config hash.

        Returns:
            A workload without container, image and restart count where the pod is
            known and the container is not (its id is not in the status yet).
        """
        with self._lock:
            uid, entry = self._find(container)
            if uid is None or entry is None:
                return None
            name = None if container.id is None else entry.names.get(container.id)
        return _workload(entry.pod, name)

    def lists(self, pod_uid: str) -> bool:
        """Return whether a pod is known and was not deleted."""
        with self._lock:
            entry = self._entries.get(pod_uid)
        return entry is not None and entry.deleted_boot_ns is None

    def contradicts(self, container: Container) -> bool:
        """Return whether the container's id is known to belong to another pod than its path's."""
        named = container.pod_uid or container.config_hash
        if container.id is None or named is None:
            return False
        with self._lock:
            uid = self._uid_by_container.get(container.id)
            entry = None if uid is None else self._entries.get(uid)
        return entry is not None and named not in (entry.pod.uid, entry.pod.config_hash)

    def runtime(self, container: Container) -> str | None:
        """Return the runtime that the pod's status names for a container."""
        with self._lock:
            _, entry = self._find(container)
        if entry is None:
            return None
        return next((one.runtime for one in entry.pod.containers if one.runtime), None)

    def _find(self, container: Container) -> tuple[str | None, _Entry | None]:
        uid = None
        if container.id is not None:
            uid = self._uid_by_container.get(container.id)
        if uid is None and container.pod_uid in self._entries:
            uid = container.pod_uid
        if uid is None and container.config_hash is not None:
            uid = self._uid_by_hash.get(container.config_hash)
        return uid, None if uid is None else self._entries.get(uid)


def _workload(pod: Pod, container_name: str | None) -> Workload:
    found = next((one for one in pod.containers if one.name == container_name), None)
    container = PodContainer("") if found is None else found
    return Workload(
        namespace=pod.namespace,
        pod=pod.name,
        pod_uid=pod.uid,
        container=container_name,
        image=container.image,
        restart_count=container.restart_count,
        owner=pod.owner,
        controller=pod.controller,
        labels=pod.labels,
        share_process_namespace=pod.share_process_namespace,
        host_pid=pod.host_pid,
        command_replaced=container.command_replaced,
        probes=container.probes,
        source=WorkloadSource.API,
    )
