"""The Kubernetes client without its 1,100 model classes, which nothing here uses.

`import kubernetes` runs `__init__` files that import a module for every type of the API:
55 MB and a second. What carries requests (configuration, TLS, credentials, connection
pool) is a handful of modules, 20 MB and 0.3 s (client 35, Python 3.11). These packages
are therefore entered without running their `__init__`, which runs when somebody asks for
a name that only it provides.

This depends on the client's layout: pyproject.toml pins its version, and
tests/kubernetes/test_client.py tests every package and name below against that version.
docs/install.md says what will replace it.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from threading import Lock
from types import ModuleType
from typing import Any

PACKAGES = (
    "kubernetes",
    "kubernetes.client",
    "kubernetes.client.models",
    "kubernetes.config",
)
"""Entered without their `__init__`."""

NAMES = {
    "Configuration": "configuration",
    "ApiException": "exceptions",
    "ApiClient": "api_client",
}
"""What `kubernetes.client` is given, and from which of its modules."""

_lock = Lock()


def load() -> ModuleType:
    """Import what is needed to make requests and return `kubernetes.client`.

    It has ApiClient, Configuration and ApiException. In a process that has
    imported the whole client already, that one is returned.
    """
    with _lock:
        return sys.modules.get("kubernetes.client") or _load()


def get(
    api: Any, path: str, query: list[tuple[str, str]], *, timeout_seconds: tuple[float, float]
) -> Any:
    """Send a GET with the client's credentials and return urllib3's response, unread.

    Args:
        api: an ApiClient.
        path: below the server's address: `/api/v1/pods`.
        query: names and values.
        timeout_seconds: for the connection, and for the next byte.

    Raises:
        ApiException: the server answered with an error status.
        urllib3.exceptions.HTTPError: the network failed.
    """
    return api.call_api(
        path,
        "GET",
        query_params=query,
        header_params={"Accept": "application/json"},
        auth_settings=["BearerToken"],
        # Without it, client 35 returns (response, status, headers); 36 the response.
        _return_http_data_only=True,
        _preload_content=False,
        _request_timeout=timeout_seconds,
    )


def _load() -> ModuleType:
    for name in PACKAGES:
        _enter(name)
    client = sys.modules["kubernetes.client"]
    for name, module in NAMES.items():
        imported = importlib.import_module(f"kubernetes.client.{module}")
        setattr(client, name, getattr(imported, name))
    return client


def _enter(name: str) -> None:
    """Put a package into sys.modules without running its `__init__`."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    module = importlib.util.module_from_spec(spec)
    module.__dict__["__getattr__"] = _run_init_on_demand(module, spec.loader)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)


def _run_init_on_demand(module: ModuleType, loader: Any) -> Callable[[str], Any]:
    """Make the module's `__getattr__` (PEP 562)."""

    def get(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__version__":
            raise AttributeError(f"module {module.__name__!r} has no attribute {attribute!r}")
        if importlib.util.find_spec(f"{module.__name__}.{attribute}") is not None:
            return importlib.import_module(f"{module.__name__}.{attribute}")
        if module.__dict__.pop("__getattr__", None) is not None:
            loader.exec_module(module)
        return getattr(module, attribute)

    return get
