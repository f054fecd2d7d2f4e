"""Which pod's container a cgroup is, by where this node's kubelet puts pods now."""

from collections.abc import Callable

from tracer.attribution import cgroup
from tracer.attribution.pod_cgroups import PodCgroups
from tracer.attribution.pod_roots import pod_named
from tracer.clock import NS
from tracer.kubernetes.index import PodIndex
from tracer.model import Cgroup, CgroupOrigin, Container

_DETECT_AGAIN_NS = 60 * NS
"""The pods' cgroups are detected again at most this often."""


class PodSearch:
    """Reads cgroups, and keeps what is known of where pods are.

    Args:
        detect: finds where the kubelet of this node puts its pods; anew at each call.
        index: pods known from the API; None without Kubernetes.
        outside: called once with the cgroup and UID of a pod that the API lists, when its
            cgroup is elsewhere and no pod was found where pods are looked for.
        now_boot_ns: the clock that bounds how often the places are detected.
    """

    def __init__(
        self,
        detect: Callable[[], PodCgroups],
        index: PodIndex | None,
        outside: Callable[[str, str, PodCgroups], None],
        now_boot_ns: Callable[[], int],
    ) -> None:
        self._detect = detect
        self._index = index
        self._outside = outside
        self._now_boot_ns = now_boot_ns
        self._pods = detect()
        self._detected_ns = now_boot_ns()
        self._found_any = False

    def parse_proc(self, text: bytes) -> cgroup.ProcCgroups | None:
        """Choose the line of /proc/PID/cgroup that says most, from the node's root."""
        pods = self._pods
        found = cgroup.parse_proc(text, lambda path: cgroup.parse(pods.from_proc(path), pods.roots))
        return None if found is None else found._replace(path=pods.from_proc(found.path))

    def path(self, found: Cgroup) -> str:
        """Return a path from the node's root, where it can be known."""
        if found.origin is CgroupOrigin.KERNEL:
            return self._pods.from_kernel(found.path) or found.path
        return self._pods.from_proc(found.path)

    def find(self, found: Cgroup) -> cgroup.Found:
        """Find the container of a cgroup."""
        return cgroup.find(self.path(found), self._pods.roots)

    def find_again(self, found: Cgroup) -> cgroup.Found:
        """Find a container; detect the pods' cgroups again if a pod of the API is elsewhere."""
        result = self.find(found)
        if is_in_pod(result.container):
            self._found_any = True
        elif self._index is not None:
            named = pod_named(cgroup.segments(found.path))
            if named is not None and named.pod_uid and self._index.lists(named.pod_uid):
                return self._detect_again(found, named.pod_uid, result)
        return result

    def kernels(self, own: Cgroup, read: cgroup.ProcCgroups | None) -> Cgroup | None:
        """Return the cgroup that the kernel named once the node's root in its path is known.

        Args:
            own: of a zombie, as the kernel named it.
            read: the same, as /proc has it; the two paths of a version 2 cgroup show the root.
        """
        if read is not None and read.unified:
            self._pods = self._pods.with_base_from(own.path, read.path)
        return None if self._pods.kernel_base is None else own

    @property
    def knows_kernel_paths(self) -> bool:
        """Whether the kernel's paths can be read from the node's root."""
        return self._pods.kernel_base is not None

    def _detect_again(self, found: Cgroup, pod_uid: str, result: cgroup.Found) -> cgroup.Found:
        now = self._now_boot_ns()
        if now - self._detected_ns < _DETECT_AGAIN_NS:
            return result
        self._detected_ns = now
        pods = self._detect()
        if pods.roots != self._pods.roots:
            self._pods = pods
            return self.find(found)
        if not self._found_any:
            self._found_any = True
            self._outside(found.path, pod_uid, pods)
        return result


def is_in_pod(container: Container | None) -> bool:
    """Return whether a container, or what stands for one, is a pod's."""
    return container is not None and (
        container.pod_uid is not None or container.config_hash is not None
    )
