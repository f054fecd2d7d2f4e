"""docs/architecture.md's table of modules, held to: who may import what, and nothing at import."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tracer

ROOT = Path(tracer.__file__).parent
TABLE = ROOT.parent / "docs" / "architecture.md"

_STANDARD = (
    "array base64 binascii codecs collections dataclasses datetime enum functools heapq "
    "itertools json math posixpath re shlex string struct textwrap types typing "
    "unicodedata zlib"
)
PURE_STANDARD = frozenset(_STANDARD.split())
"""What a pure module may import: nothing here reads, writes, waits or asks the time."""

PURE_TOO = {
    ("kubernetes/index.py", "threading"),  # a lock: the watch fills it, the engine asks it
    ("table/pidset.py", "mmap"),  # anonymous memory
    ("render/words.py", "signal"),  # the names of signals
    ("kubernetes/pod.py", "sys"),  # sys.intern
}

CLOCK_READERS = {"boot_ns", "boot_to_wall_ns"}
"""Of tracer.clock: the current time is a parameter of what is pure."""

CONFINED = {
    "kubernetes": r"kubernetes/(client|config|watch)\.py",
    "urllib3": r"kubernetes/\w+\.py",
    "yaml": r"kubernetes/config\.py",
    "bcc": r"sources/bcc/\w+\.py",
    "prometheus_client": r"sinks/metrics\.py|sinks/http\.py",
    "structlog": r"sinks/jsonlog\.py",
    "ctypes": r"sources/\w+/\w+\.py|emulate/spawn\.py",
    "subprocess": r"commands/kubectl\.py",
    "argparse": r"cli\.py|options\.py|commands/\w+\.py|doctor/__main__\.py",
}
"""Clients and sharp tools, and the modules that may import them."""

ORDER = ("pure", "base", "edge", "top")
"""A module imports nothing of a layer above its own; pure and base may import each other."""

MODULES = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if path.name != "__init__.py"
)


def layers():
    """Return the layer of each module in the table; `(pure)` behind a name is its own."""
    found = {}
    for line in TABLE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| `") or cells[-1] not in ORDER:
            continue
        for name in re.findall(r"`([\w/*]+\.py)`", cells[0]):
            for path in ROOT.glob(name):
                found[str(path.relative_to(ROOT))] = cells[-1]
        found.update((name, "pure") for name in re.findall(r"`(\w+\.py)` \(pure\)", cells[0]))
    return found


LAYERS = layers()


def imports(module):
    """Yield (line, imported module, names) of every import in it, also inside functions."""
    for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            yield node.lineno, node.module, tuple(alias.name for alias in node.names)


def own(name, names):
    """Return the paths of our own modules that such an import reaches."""
    if name.split(".")[0] != "tracer":
        return []
    candidates = [name, *(f"{name}.{one}" for one in names)]
    paths = [
        candidate.replace(".", "/").removeprefix("tracer/") + ".py" for candidate in candidates
    ]
    return [path for path in paths if path in MODULES]


def test_every_module_has_its_place_in_the_table():
    missing = [name for name in MODULES if name not in LAYERS and not name.endswith("__main__.py")]
    assert not missing, f"say in docs/architecture.md what they are: {missing}"


def test_the_table_names_no_module_that_is_gone():
    for line in TABLE.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            for name in re.findall(r"`([\w/*]+\.(?:py|c))`", line.split("|")[1]):
                assert list(ROOT.glob(name)), f"there is no {name}"


@pytest.mark.parametrize("module", [name for name in MODULES if LAYERS.get(name) == "pure"])
def test_the_core_is_pure(module):
    for line, name, names in imports(module):
        where = f"{module}:{line} imports {name}"
        top = name.split(".")[0]
        if top == "tracer":
            assert name != "tracer.clock" or not CLOCK_READERS & set(names), f"{where} {names}"
            for path in own(name, names):
                assert LAYERS.get(path) in ("pure", "base"), f"{where}, which is not pure"
        else:
            assert top in PURE_STANDARD or (module, top) in PURE_TOO, where
    for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"open", "print", "input", "datetime.now"}, (module, node.lineno)


@pytest.mark.parametrize("module", MODULES)
def test_nobody_imports_from_above(module):
    layer = LAYERS.get(module, "top")
    for line, name, names in imports(module):
        for path in own(name, names):
            above = ORDER.index(LAYERS.get(path, "top")) > max(1, ORDER.index(layer))
            assert not above, f"{module}:{line} ({layer}) imports {path} ({LAYERS.get(path)})"


@pytest.mark.parametrize("module", MODULES)
def test_clients_are_confined(module):
    for line, name, _ in imports(module):
        allowed = CONFINED.get(name.split(".")[0])
        assert allowed is None or re.fullmatch(allowed, module), f"{module}:{line} imports {name}"


WATCH_IMPORTS = """
import importlib, json, os, signal, sys, threading
import argparse, ctypes, http.server, logging, multiprocessing, socket, subprocess, tempfile
seen = []
def hook(event, args):
    if event == "open":
        path, mode, flags = args
        source = str(path).endswith((".py", ".pyc", ".so", ".pth"))
        if not source and not isinstance(path, int) and "importlib" not in str(path):
            seen.append(f"opens {path}")
    elif event.split(".")[0] in ("socket", "subprocess", "shutil", "signal", "fcntl") or event in (
        "os.mkdir", "os.remove", "os.rename", "os.system", "os.fork", "os.putenv", "ctypes.dlopen",
        "os.exec", "os.chmod", "os.symlink", "os.kill", "mmap.__new__",
    ):
        seen.append(f"{event} {args}")
before = dict(os.environ), [signal.getsignal(n) for n in signal.valid_signals()]
importlib.import_module("tracer")
sys.addaudithook(hook)
for name in sys.argv[1:]:
    importlib.import_module(name)
    seen = [f"{name}: {one}" if ": " not in one else one for one in seen]
after = dict(os.environ), [signal.getsignal(n) for n in signal.valid_signals()]
print(json.dumps({
    "seen": seen, "threads": threading.active_count(), "changed": before != after,
    "heavy": sorted({"kubernetes", "bcc", "structlog", "prometheus_client"} & sys.modules.keys()),
}))
"""


def imported(*modules):
    """Import these in a new interpreter, and return what happened."""
    names = ["tracer." + name.removesuffix(".py").replace("/", ".") for name in modules]
    done = subprocess.run(
        [sys.executable, "-B", "-c", WATCH_IMPORTS, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_happens_at_import():
    """No file, socket, process, library, thread or signal handler, in any module."""
    # Prometheus' client reads what it likes when it is imported; __main__ runs.
    quiet = [
        name
        for name in MODULES
        if not name.endswith("__main__.py")
        and not any(top == "prometheus_client" for _, top, _ in split(imports(name)))
        and not any("metrics" in path for _, name_, n in imports(name) for path in own(name_, n))
    ]
    happened = imported(*quiet)
    assert happened["seen"] == []
    assert happened["threads"] == 1
    assert happened["changed"] is False


def split(found):
    """Cut imported names down to the package they are from."""
    return ((line, name.split(".")[0], names) for line, name, names in found)


def test_the_command_line_imports_no_client():
    """Each costs tens of milliseconds and megabytes: who needs one imports it then."""
    assert imported("cli.py", "commands/agent.py", "commands/scan.py")["heavy"] == []
