"""Paths of cgroups by id, from the kernel's map of their names."""

from collections import OrderedDict

from tracer.sources.core import wire
from tracer.sources.core.maps import Map

_KEPT = 1024


class CgroupNames:
    """Paths of cgroups by id, read once and kept."""

    def __init__(self, names: Map) -> None:
        self._names = names
        self._paths: OrderedDict[tuple[int, int], str] = OrderedDict()

    def path(self, cgroup_id: int, hierarchy: int) -> str | None:
        """Return the path from the hierarchy's root; None when it is not known.

        Of a path deeper than 16 levels the first 16 are returned: what identifies the
        container is there.
        """
        if not cgroup_id:
            return None
        key = cgroup_id, hierarchy
        path = self._paths.get(key)
        if path is not None:
            return path
        raw = self._names.lookup(wire.CGROUP_KEY.pack(cgroup_id, hierarchy))
        if raw is None:
            return None
        level, *names = wire.CGROUP_NAMES.unpack(raw)
        path = "/" + "/".join(wire.text(name) for name in names[: min(level, wire.CGROUP_LEVELS)])
        self._paths[key] = path
        if len(self._paths) > _KEPT:
            self._paths.popitem(last=False)
        return path
