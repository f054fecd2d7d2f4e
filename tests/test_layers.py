"""Who may import what (pyproject.toml's contracts), and what those cannot express.

The contracts are import-linter's: layers, the pure core, and which modules may import which
client. Here: no clock and no file in the pure core, nothing at import, a light command line.
"""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tracer

ROOT = Path(tracer.__file__).parent
REPO = ROOT.parent

CLOCK_READERS = {"boot_ns", "boot_to_wall_ns"}
"""Of tracer.clock: the current time is a parameter of what is pure."""

READERS = {"open", "print", "input", "exec", "eval", "datetime.now", "datetime.utcnow"}

MODULES = sorted(
    str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if path.name != "__init__.py"
)


def dotted(module):
    return "tracer." + module.removesuffix(".py").replace("/", ".")


def pure_modules():
    """Return the modules that the contract "pure" covers, without the edges it lists."""
    config = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))
    (contract,) = (
        each for each in config["tool"]["importlinter"]["contracts"] if each["id"] == "pure"
    )
    edges = {
        line.partition(" -> ")[0] for line in contract["ignore_imports"] if line.endswith(" -> *")
    }
    return [
        module
        for module in MODULES
        if dotted(module) not in edges
        and any(
            f"{dotted(module)}.".startswith(f"{package}.") for package in contract["source_modules"]
        )
    ]


def imports(module):
    """Yield (line, imported module, names) of every import in it, also inside functions."""
    for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            yield node.lineno, node.module, tuple(alias.name for alias in node.names)


def test_the_contracts_of_imports_hold(tmp_path):
    """The layers, the purity of the core and the confinement of clients are as declared."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--cache-dir", tmp_path],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", pure_modules())
def test_the_core_neither_asks_the_time_nor_opens_a_file(module):
    """What a contract on imports cannot see: names from tracer.clock, and built-in functions."""
    for line, name, names in imports(module):
        asks = name == "tracer.clock" and CLOCK_READERS & set(names)
        assert not asks, f"{module}:{line} imports {names}"
    for node in ast.walk(ast.parse((ROOT / module).read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in READERS, (module, node.lineno)


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
    names = [dotted(module) for module in modules]
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
        and not any(
            imported.startswith(("prometheus_client", "tracer.sinks.metrics"))
            for _, imported, _ in imports(name)
        )
    ]
    happened = imported(*quiet)
    assert happened["seen"] == []
    assert happened["threads"] == 1
    assert happened["changed"] is False


def test_the_command_line_imports_no_client():
    """Each costs tens of milliseconds and megabytes: what needs one imports it when it does."""
    assert imported("cli.py", "commands/agent.py", "commands/scan.py")["heavy"] == []
