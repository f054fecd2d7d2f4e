"""Which zombies are reported: -n, --pod, --container, -l and --pods-only. Pure."""

from dataclasses import dataclass, field

from tracer.attribution.selector import Selector
from tracer.model import Attribution, WorkloadSource


@dataclass(frozen=True, slots=True)
class Filters:
    """Values of one kind are alternatives; kinds, and requirements of a selector, add up.

    Attributes:
        namespaces, pods, containers: exact names; empty means all.
        selector: on the pod's labels; empty means all.
        pods_only: drop zombies outside pods, whether or not the pod's name is known.
    """

    namespaces: frozenset[str] = field(default_factory=frozenset)
    pods: frozenset[str] = field(default_factory=frozenset)
    containers: frozenset[str] = field(default_factory=frozenset)
    selector: Selector = ()
    pods_only: bool = False

    @property
    def any(self) -> bool:
        """Whether anything is filtered at all."""
        return self.pods_only or self.by_name

    @property
    def by_name(self) -> bool:
        """Whether the pod's names or labels must be known to decide."""
        return bool(self.namespaces or self.pods or self.containers or self.selector)

    def describe_none(self, elsewhere: int) -> str:
        """Return what to say when no zombie passes.

        Args:
            elsewhere: how many zombies do not pass.
        """
        places = [
            f"{kind} {' or '.join(sorted(names))}"
            for kind, names in (
                ("namespace", self.namespaces),
                ("pod", self.pods),
                ("container", self.containers),
            )
            if names
        ]
        if self.pods_only and not places:
            places = ["pods"]
        where = f" in {', '.join(places)}" if places else ""
        labels = " with these labels" if self.selector else ""
        others = f" ({elsewhere} elsewhere)" if elsewhere else ""
        return f"no zombies{where}{labels}{others}"

    def matches(self, attribution: Attribution) -> bool:
        """Return whether a zombie with this attribution passes.

        A pod known only from the node's own log names has no known labels, so no
        selector can be shown to hold for it, not even a negative one.
        """
        container, workload = attribution.container, attribution.workload
        if self.pods_only and workload is None:
            in_pod = container is not None and (container.pod_uid or container.config_hash)
            if not in_pod:
                return False
        if not self.by_name:
            return True
        if workload is None:
            return False
        if self.selector and workload.source is not WorkloadSource.API:
            return False
        labels = dict(workload.labels)
        return (
            (not self.namespaces or workload.namespace in self.namespaces)
            and (not self.pods or workload.pod in self.pods)
            and (not self.containers or workload.container in self.containers)
            and all(requirement.matches(labels) for requirement in self.selector)
        )
