"""Find credentials for the API server: in-cluster, a kubeconfig, or the kubelet's own.

Choosing only looks at files and the environment. Loading the client and credentials
takes time (an exec plugin may take seconds), and is left to the thread of the watch.
"""

import errno
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tracer.errors import UsageError
from tracer.kubernetes import client

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts a pod's token and the cluster's certificate authority."""

KUBELET_CONFIGS = (Path("/var/lib/kubelet/kubeconfig"), Path("/etc/kubernetes/kubelet.conf"))


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials for the API server.

    Attributes:
        origin: where it came from, for messages: `in-cluster`, or a kubeconfig's path.
        load: reads the credentials from disk and returns a new client's ApiClient.
            Raises OSError, ValueError or the client's ConfigException.
    """

    origin: str
    load: Callable[[], Any]


class Choice(NamedTuple):
    """The access that was found, None for none, and why it is that one."""

    access: Access | None
    reason: str


def connect(
    kubeconfig: str | None,
    *,
    environment: Mapping[str, str] = os.environ,
    root: Path = Path("/"),
) -> Choice:
    """Choose how to reach the API server, without trying it.

    Args:
        kubeconfig: from --kubeconfig, takes precedence over everything; None when not given.
        environment: for $KUBERNETES_SERVICE_HOST and $KUBECONFIG.
        root: of the files to look for.

    Raises:
        UsageError: --kubeconfig names a file that cannot be read or is not a kubeconfig.
    """
    if kubeconfig is not None:
        _check(kubeconfig)
        return Choice(_from_file(kubeconfig), f"--kubeconfig {kubeconfig}")
    account = _below(root, SERVICE_ACCOUNT)
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if host and _is_readable(account / "token"):
        return Choice(_in_cluster(account, environment), f"in-cluster, {host}")
    named = environment.get("KUBECONFIG", "")
    present = [path for path in named.split(os.pathsep) if path and _is_readable(Path(path))]
    if present:
        joined = os.pathsep.join(present)
        return Choice(_from_file(joined), f"$KUBECONFIG {joined}")
    for path in KUBELET_CONFIGS:
        file = _below(root, path)
        if _is_readable(file):
            return Choice(_from_file(str(file)), f"the kubelet's own {path}")
    missing = f"; none of the files in $KUBECONFIG can be read ({named})" if named else ""
    return Choice(None, f"not in a cluster, and no kubeconfig can be read{missing}")


def _in_cluster(account: Path, environment: Mapping[str, str]) -> Access:
    def load() -> Any:
        kubernetes = client.load()
        from kubernetes.config import incluster_config  # noqa: PLC0415 - after client.load()

        configuration = _configuration(kubernetes)
        incluster_config.InClusterConfigLoader(
            token_filename=str(account / "token"),
            cert_filename=str(account / "ca.crt"),
            environ=environment,
        ).load_and_set(configuration)
        return kubernetes.ApiClient(configuration)

    return Access("in-cluster", load)


def _from_file(path: str) -> Access:
    def load() -> Any:
        kubernetes = client.load()
        from kubernetes.config import kube_config  # noqa: PLC0415 - after client.load()

        configuration = _configuration(kubernetes)
        kube_config.load_kube_config(
            config_file=path, client_configuration=configuration, persist_config=False
        )
        return kubernetes.ApiClient(configuration)

    return Access(path, load)


def _configuration(kubernetes: Any) -> Any:
    configuration = kubernetes.Configuration()
    # The watch has its own backoff; urllib3 would try three times at once beneath it.
    configuration.retries = False
    return configuration


def _check(path: str) -> None:
    remedy = "set --kubeconfig to a kubeconfig file, or use --no-kubernetes"
    try:
        text = _read_text(path)
    except OSError as error:
        message = f"cannot read --kubeconfig {path}: {error.strerror or error}; {remedy}"
        raise UsageError(message) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--kubeconfig {path} is not a text file; {remedy}") from error
    import yaml  # noqa: PLC0415 - only needed when the option is given

    try:
        content = yaml.safe_load(text)
    except ValueError as error:  # a number of 5,000 digits, a 45th of a month
        message = f"--kubeconfig {path} has a number or a date that cannot be read"
        raise UsageError(f"{message}; {remedy}") from error
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise UsageError(f"--kubeconfig {path} is not YAML: {line}; {remedy}") from error
    if not isinstance(content, dict) or not content.get("clusters"):
        raise UsageError(f"--kubeconfig {path} lists no clusters; {remedy}")
    for section in ("clusters", "contexts", "users"):
        entries = content.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            message = f"--kubeconfig {path} is not valid: `{section}` is not a list of entries"
            raise UsageError(f"{message}; {remedy}")


def _read_text(path: str) -> str:
    """Read a text file. What is not a regular file could block: a FIFO waits for a writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read()


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _is_readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)
