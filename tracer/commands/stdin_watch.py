"""--exit-with-stdin: the command ends when its user is gone."""

import os
import select
import signal
import time
from threading import Thread

from tracer.errors import CANNOT_RUN_STATUS
from tracer.protocol import HEARTBEAT_SECONDS

_READ_BYTES = 4096
_END_SECONDS = 10.0


def end_with_stdin() -> None:
    """End this process when stdin does, or when nothing comes from it for a minute.

    A connection that is lost (a laptop that sleeps) brings no end of file for hours, so the
    other side sends a line now and then.
    """
    Thread(target=_watch, name="stdin", daemon=True).start()


def _watch() -> None:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while poll.poll(HEARTBEAT_SECONDS * 1000):
        if not os.read(0, _READ_BYTES):
            break
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END_SECONDS)
    os._exit(CANNOT_RUN_STATUS)
