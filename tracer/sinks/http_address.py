"""Where the HTTP server listens: --metrics-address, and the socket for it."""

import errno
import ipaddress
import os
import socket
from contextlib import suppress
from typing import Any, NamedTuple

from tracer.errors import PermanentError, UsageError
from tracer.numbers import shown

_BACKLOG = 1024
"""Connections that the kernel accepts before the server does: a flood must not fill it."""

_RECEIVE_BYTES = 16 * 1024
_SEND_BYTES = 32 * 1024
"""Kernel memory of a connection's buffers, which Linux doubles; without a bound a client that
does not read its answer takes up to 4 MiB (tcp_wmem). Accepted sockets inherit both."""


class Address(NamedTuple):
    """Where to listen. An empty host means every address, IPv4 and IPv6."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Parse HOST:PORT, [HOST]:PORT or :PORT.

    Raises:
        UsageError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not colon or not _is_port(port):
        raise _bad_address(text)
    if bracketed or ":" in bare:
        try:
            ipaddress.IPv6Address(bare.partition("%")[0])
        except ValueError:
            raise _bad_address(text) from None
        if not bracketed:
            raise _bad_address(text)
    return Address(bare, int(port))


def _is_port(text: str) -> bool:
    # The length first: int() refuses more than 4,300 digits with an error of its own.
    return text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535


def _bad_address(text: str) -> UsageError:
    return UsageError(
        f"--metrics-address {shown(text)} is not HOST:PORT; write for example :9464,"
        " 127.0.0.1:9464 or [::1]:9464"
    )


def listen(address: Address) -> socket.socket:
    """Return a non-blocking socket that listens there.

    Raises:
        PermanentError: it cannot; the text names the address and the remedy.
    """
    host = f"[{address.host}]" if ":" in address.host else address.host
    where = f"--metrics-address {host}:{address.port}"
    try:
        if not address.host:
            # A kernel without IPv6 (ipv6.disable=1) has only the second.
            with suppress(OSError):
                return _listen_at(socket.AF_INET6, ("::", address.port))
            return _listen_at(socket.AF_INET, ("0.0.0.0", address.port))  # noqa: S104 - asked for
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where_to = found[0]
        return _listen_at(family, where_to)
    except socket.gaierror as error:
        raise PermanentError(
            f"{where}: the host name cannot be resolved ({error.strerror});"
            " give an address of this machine, or :PORT for all of them"
        ) from error
    except OSError as error:
        remedy = {
            errno.EADDRINUSE: "another program or agent is listening there;"
            " stop it or choose another port",
            errno.EADDRNOTAVAIL: "give an address of this machine, or :PORT for all of them",
            errno.EACCES: "choose a port above 1023",
        }.get(error.errno or 0, "choose another address")
        reason = os.strerror(error.errno or errno.EIO)
        raise PermanentError(f"{where}: {reason}: {remedy}") from error


def _listen_at(family: int, where: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # A restarted agent listens at once, though connections of the last one linger.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        if family == socket.AF_INET6 and where[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(_BACKLOG)
        listener.settimeout(0)
    except BaseException:
        listener.close()
        raise
    return listener
