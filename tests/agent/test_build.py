"""Parts of the agent that cannot be constructed yet are constructed later."""

import contextlib
import os
import resource
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.zombies import wait_until

from tracer.agent import build
from tracer.agent.stop import StopRequest
from tracer.errors import PermanentError

OPTIONS = SimpleNamespace(proc_root=Path("/proc"))


@contextlib.contextmanager
def without_descriptors():
    """Leave this process no descriptor; call what is yielded to end that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_PATH)
    os.close(lowest)

    def end():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield end
    finally:
        end()


def test_a_part_that_fails_temporarily_is_constructed_when_that_is_over(caplog):
    """It ended the agent with exit status 3."""
    stop, made = StopRequest(), []

    def construct():
        made.append(build.retried(lambda: build.open_proc(OPTIONS), stop))

    with without_descriptors() as end:
        thread = threading.Thread(target=construct, daemon=True)
        thread.start()
        wait_until(lambda: caplog.messages, what="the report of it")
        assert not made
        end()
        stop.wake()
        thread.join(10)
    [proc] = made
    proc.close()
    [message] = caplog.messages
    assert message.startswith("cannot start yet: ")
    assert "Too many open files" in message
    assert message.endswith("; trying again")


def test_a_request_to_end_ends_the_attempts():
    stop = StopRequest()
    stop.request("SIGTERM")
    with without_descriptors(), pytest.raises(OSError, match="Too many open files"):
        build.retried(lambda: build.open_proc(OPTIONS), stop)


def test_what_cannot_work_is_not_tried_again(tmp_path):
    with pytest.raises(PermanentError, match="is not a proc file system"):
        build.retried(lambda: build.open_proc(SimpleNamespace(proc_root=tmp_path)), StopRequest())
