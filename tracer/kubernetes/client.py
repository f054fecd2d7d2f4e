"""The kubernetes client without the 1,100 model classes that nobody here uses.

`import kubernetes` runs three `__init__` files that import a module for every type of
the API: 53 MB and a second (client 36 on Python 3.11). What carries requests
(configuration, TLS, credentials, connection pool) is a handful of modules, 18 MB and
0.2 s. So these packages are entered without running their `__init__`, which is run
when somebody asks one of them for a name that only it provides.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from threading import Lock
from types import ModuleType
from typing import Any

_PACKAGES = (
    "kubernetes",
    "kubernetes.client",
    "kubernetes.client.models",
    "kubernetes.config",
)

_lock = Lock()


def load() -> ModuleType:
    """Import what is needed to make requests and return `kubernetes.client`.

    It has ApiClient, Configuration and ApiException. In a process that has
    imported the whole client already, that one is returned.
    """
    with _lock:
        return sys.modules.get("kubernetes.client") or _load()


def _load() -> ModuleType:
    for name in _PACKAGES:
        _enter(name)
    client = sys.modules["kubernetes.client"]
    for module, name in (
        ("configuration", "Configuration"),
        ("exceptions", "ApiException"),
        ("api_client", "ApiClient"),
    ):
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
