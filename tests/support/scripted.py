"""A process that runs a short script, prints facts as a JSON line, and waits to be ended."""

import contextlib
import json
import subprocess
import sys

_PRELUDE = """
import ctypes, json, os, signal, sys, time
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_CHILD_SUBREAPER = 36
def born(work=lambda: None, status=0):
    pid = os.fork()
    if not pid:
        work()
        os._exit(status)
    return pid
def dead(pid):
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid
def say(**facts):
    print(json.dumps(facts), flush=True)
"""

_END = """
sys.stdin.read()
"""


class Script:
    """A running script.

    Attributes:
        pid: its pid.
        said: the line that it printed, as a dictionary.
    """

    def __init__(self, process, said):
        self.process = process
        self.pid = process.pid
        self.said = said

    def __getattr__(self, name):
        try:
            return self.said[name]
        except KeyError:
            raise AttributeError(name) from None


@contextlib.contextmanager
def script(code, *, cwd=None):
    """Run Python code that ends with say(…); it lives until the context ends.

    The code can use born() for a child, dead() to wait for its exit without reaping it,
    and libc. What it leaves behind goes to pid 1.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PRELUDE + code + _END],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=cwd,
    )
    try:
        line = process.stdout.readline()
        assert line, "the script said nothing"
        yield Script(process, json.loads(line))
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()
