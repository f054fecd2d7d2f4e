"""How clients talk to a running agent: lines of JSON over a Unix socket in the state folder.

The client sends one line, the request, and later lines that give the terminal's new
width, {"columns": N}. The agent answers with lines {"out": text} and {"err": text}, to be
written to stdout and stderr, and ends with {"exit": status}. Unknown keys are ignored.
An agent that does not speak the client's version adds "other_version": true to that last
line: the client then does the work itself.

This module is imported by the client, whose every import costs memory: it imports nothing.
"""

VERSION = 1

SOCKET = "agent.sock"
"""In the state folder."""

PATH_LIMIT_BYTES = 107
"""Of a socket's path: sun_path in unix(7), without the terminating zero."""

REQUEST_LIMIT_BYTES = 64 << 10

HEARTBEAT_SECONDS = 60
"""With --exit-with-stdin: a client that reads nothing from stdin for so long ends."""

STATE_DIR = "/run/zombie-tracer"
"""The default of --state-dir."""

COMMANDS = ("scan", "explain")
"""What an agent does for clients, besides the live view."""

FOLLOW = "follow"
"""The command of a request for the live view."""
