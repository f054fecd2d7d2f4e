"""A process that has imported all scenarios already, and forks one actor for each that is asked for.

An interpreter's start takes 10 s in an emulated guest without compiled modules.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[len(__package__.split("."))]
_PID = struct.Struct("=i")


class ForkServer:
    """The suite's side: a context manager."""

    def __enter__(self):
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-SEB", "-m", __spec__.name, str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(self, *_):
        self._socket.close()
        self._process.wait()

    def fork(self, scenario):
        """Return the pid of a new actor, and what to write to and read from it (a socket, a pipe)."""
        ours, theirs = socket.socketpair()
        errors, theirs_errors = os.pipe()
        with theirs:
            descriptors = [theirs.fileno(), theirs_errors]
            socket.send_fds(self._socket, [scenario.encode()], descriptors)
        os.close(theirs_errors)
        (pid,) = _PID.unpack(self._socket.recv(_PID.size))
        return pid, ours, open(errors, "rb")


def serve(descriptor):
    """Fork actors until the suite ends; the kernel reaps them."""
    from .actors import SCENARIOS

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as suite:
        while True:
            name, descriptors, _, _ = socket.recv_fds(suite, 256, 2)
            if not name:
                return
            pid = os.fork()
            if pid == 0:
                suite.close()
                act(SCENARIOS[name.decode()], *descriptors)
            for each in descriptors:
                os.close(each)
            suite.send(_PID.pack(pid))


def act(scenario, conversation, errors):
    """Be an actor: converse on stdin and stdout, in a process group of one's own."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor, standard in ((conversation, 0), (conversation, 1), (errors, 2)):
        os.dup2(descriptor, standard)
    os.close(conversation)
    os.close(errors)
    try:
        scenario()
    except BaseException:
        traceback.print_exc()
    else:
        print('{"end": true}', flush=True)
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
