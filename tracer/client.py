"""`tracer`: asks the running agent, and does the work in this process only where none runs.

A client lives in the agent's container and counts against its memory limit, so this module
imports little, and only when it is needed: an agent costs 45 MB, a client 4.
"""

import os
import sys
from collections.abc import Sequence

from tracer import protocol

TYPE_CHECKING = False  # as typing has it, which would add 400 kB
if TYPE_CHECKING:
    from _socket import socket

_ELSEWHERE = ("--kubeconfig", "--no-kubernetes", "--proc-root", "-h", "--help", "--version")
"""Options that ask for something else than the agent has, or for no agent at all."""
_EXIT_WITH_STDIN = "--exit-with-stdin"


def main() -> int:
    """Run `tracer`; return its exit status."""
    arguments = sys.argv[1:]
    status, no_agent = ask(arguments)
    if status is not None:
        return status
    from tracer import cli  # noqa: PLC0415 - see the module

    return cli.main(arguments, no_agent=no_agent)


def ask(arguments: Sequence[str]) -> tuple[int | None, str | None]:
    """Have the agent run a command, if it is one for the agent and an agent answers.

    Returns:
        the exit status, None when the command is to be run in this process; and for that
        case why no agent answered, None when none was asked.
    """
    command = _command(arguments)
    path = _socket_path(arguments, os.environ)
    if command is None or path is None or None in (sys.stdin, sys.stdout, sys.stderr):
        return None, None
    connection = _connect(path)
    if isinstance(connection, str):
        return None, f"no agent answered at {path} ({connection})"
    from tracer.conversation import Conversation, request  # noqa: PLC0415 - see the module

    words = [word for word in arguments if word != _EXIT_WITH_STDIN]
    conversation = Conversation(
        connection,
        watch_stdin=len(words) < len(arguments),
        endless=command == protocol.FOLLOW,
    )
    return conversation.run(request(command, words, os.environ))


def _command(arguments: Sequence[str]) -> str | None:
    """Return what to ask the agent for; None for what it does not do."""
    if any(word.partition("=")[0] in _ELSEWHERE for word in arguments):
        return None
    if _value("--source", arguments) not in (None, "auto"):
        return None
    if arguments and arguments[0] in protocol.COMMANDS:
        return arguments[0]
    if not arguments or not arguments[0].startswith("-"):
        return None
    return None if {"-f", "--follow"}.isdisjoint(arguments) else protocol.FOLLOW


def _socket_path(arguments: Sequence[str], environment: "os._Environ[str]") -> str | None:
    """Return where the agent listens; None when state is turned off."""
    folder = _value("--state-dir", arguments)
    if folder is None:
        folder = environment.get("TRACER_STATE_DIR") or protocol.STATE_DIR
    return None if folder == "none" else f"{folder}/{protocol.SOCKET}"


def _value(option: str, arguments: Sequence[str]) -> str | None:
    """Return the value of an option, the last one if it is given twice."""
    value = None
    for index, word in enumerate(arguments):
        name, equals, after = word.partition("=")
        if name == option:
            value = after if equals else "".join(arguments[index + 1 : index + 2])
    return value


def _connect(path: str) -> "socket | str":
    """Return a connection to the agent, or why there is none."""
    import _socket  # noqa: PLC0415 - `socket` would add 400 kB

    if len(os.fsencode(path)) > protocol.PATH_LIMIT_BYTES:
        return "the path is too long for a socket"
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        return error.strerror or str(error)
    return connection
