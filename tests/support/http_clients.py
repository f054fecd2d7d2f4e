"""Clients that hold an HTTP server's connections, as a hostile pod would.

Run as a program:

    python3 http_clients.py KIND PORT ADDRESSES COUNT

opens COUNT connections from that many loopback addresses, prints "ready", and opens each one
again as soon as it is closed, until the program is killed.
"""

import select
import socket
import sys
import time

KINDS = ("silent", "dribbles", "reads", "half", "floods")
"""Sends nothing; a request byte by byte; reads a long answer byte by byte; closes its side and
reads nothing; sends whole requests as fast as it can, without reading the answers."""

PAUSE_SECONDS = 0.05
"""Between two bytes."""

LONG_REQUEST = b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 100_000
METRICS = b"GET /metrics HTTP/1.1\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, kind: str, port: int, source: str) -> None:
        self.kind = kind
        self.sent = self.read = 0
        self.socket = socket.socket()
        # Little of the answer may lie in the client's own buffer.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(0)
        if kind in ("reads", "half", "floods"):
            self.socket.send(METRICS if kind != "floods" else b"GET /healthz HTTP/1.1\r\n\r\n")
        if kind == "half":
            self.socket.shutdown(socket.SHUT_WR)
        self.poll = select.poll()
        self.poll.register(self.socket, 0)

    def step(self) -> bool:
        """Send or read one byte; return False when the connection is over."""
        try:
            if self.kind == "dribbles":
                self.sent += self.socket.send(LONG_REQUEST[self.sent : self.sent + 1])
            elif self.kind == "reads":
                self.read += len(self.socket.recv(1))
        except BlockingIOError:
            pass
        except OSError:
            return False
        return self.kind != "floods" and not self.poll.poll(0)


def main(kind: str, port: int, addresses: int, count: int) -> None:
    """Hold the connections."""
    sources = [f"127.0.1.{1 + number % addresses}" for number in range(count)]
    clients = [Client(kind, port, source) for source in sources]
    print("ready", flush=True)
    while True:
        for index, client in enumerate(clients):
            if not client.step():
                client.socket.close()
                try:
                    clients[index] = Client(kind, port, sources[index])
                except OSError:
                    continue
        if kind != "floods":
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
