"""The package where any user can read it: a checkout may lie in a closed folder.

pytest's own temporary folders are closed too, and closed again by each further pytest.
"""

import atexit
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path

SYSTEM_PYTHON = Path("/usr/bin/python3")
PYTHON = str(SYSTEM_PYTHON if SYSTEM_PYTHON.exists() else sys.executable)
"""An interpreter for every user; the checkout's own may be behind a closed folder."""


@functools.cache
def published():
    """Return a folder that holds a copy of the package until this process ends."""
    import tracer

    folder = tempfile.mkdtemp(prefix="tracer-published-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o755)
    shutil.copytree(os.path.dirname(tracer.__file__), f"{folder}/tracer")
    return folder


def environment(**more):
    """Return the environment in which that copy is imported."""
    return {**os.environ, "PYTHONPATH": published(), **more}
