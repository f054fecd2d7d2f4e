"""The agent's server with a handler of the test's own, and clients that do as a test says."""

import contextlib
import json
import socket

from tracer.agent.serve.server import Server
from tracer.protocol import SOCKET

DEADLINE_SECONDS = 20.0


def ask(command="scan", *arguments, **more):
    """Return a request's line."""
    request = {"tracer": 1, "command": command, "arguments": list(arguments), **more}
    return json.dumps(request).encode() + b"\n"


class Peer:
    """A client that does exactly what a test says."""

    def __init__(self, folder, made=None):
        self.socket = made or socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_SECONDS)
        self.socket.connect(str(folder / SOCKET))

    def send(self, line):
        self.socket.sendall(line)
        return self

    def answers(self):
        """Read to the end of the connection, and return the lines."""
        data = b""
        while more := self.socket.recv(1 << 16):
            data += more
        return [json.loads(line) for line in data.splitlines()]

    def error(self):
        """Return what the agent says before it disconnects with status 3."""
        answers = self.answers()
        assert answers[-1]["exit"] == 3, answers
        return "".join(answer.get("err", "") for answer in answers)

    def is_disconnected(self):
        self.socket.setblocking(False)
        try:
            while self.socket.recv(1 << 16):
                pass
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        return True

    def close(self):
        self.socket.close()


@contextlib.contextmanager
def serving(folder, handle):
    server = Server(folder, handle)
    server.start()
    try:
        yield server
    finally:
        server.close()
