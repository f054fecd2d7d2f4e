"""Waits, for a moment, until the API server has named the pods of this node."""

import time

from tracer.commands.output import Output
from tracer.kubernetes.watch import PodWatch
from tracer.render.text import one_line

_WAIT_SECONDS = 3.0


def wait_for_pod_names(pods: PodWatch | None, output: Output) -> None:
    """Start the watch and wait until it has all pods; say on stderr when it does not get them."""
    if pods is None:
        return
    pods.start()
    deadline = time.monotonic() + _WAIT_SECONDS
    while not pods.synced and pods.last_error is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if not pods.synced:
        reason = pods.last_error or f"no answer within {_WAIT_SECONDS:g} s"
        text = one_line(f"pod names come from the node's log folders only: {reason}")
        output.err(f"tracer: {text}\n")
