"""What ends the agent early, and what must not: readers that are gone, signals, nohup."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from support.kernel import require
from support.zombies import children, wait_until

from tracer.agent.stop import StopRequest
from tracer.clock import NS, boot_ns

ARGUMENTS = ("--state-dir", "none", "--no-kubernetes", "--source", "proc")


@contextlib.contextmanager
def agent(*arguments, **options):
    command = [sys.executable, "-m", "tracer", *ARGUMENTS, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("arguments", [(), ("--follow",)])
def test_a_reader_that_is_gone_before_the_start_ends_it(arguments):
    """`tracer | true`: nobody will ever read a line."""
    reader, writer = os.pipe()
    os.close(reader)
    with agent(*arguments, stdout=writer) as process:
        os.close(writer)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def test_nohup_lets_it_outlive_its_terminal():
    """Who starts it with SIGHUP ignored wants it to stay when the terminal goes."""
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        running = agent(stdout=subprocess.PIPE)
        process = running.__enter__()
    finally:
        signal.signal(signal.SIGHUP, ignored)
    with contextlib.ExitStack() as stack:
        stack.push(running.__exit__)
        assert "agent_started" in process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        last = process.stdout.read().splitlines()[-1]
        assert '"reason":"SIGTERM"' in last


@pytest.mark.parametrize("prefix", [(), ("unshare", "--pid", "--fork")], ids=["", "as PID 1"])
def test_a_signal_during_the_start_is_not_lost(prefix):
    """A pod that is deleted while its agent starts must not wait out its grace period."""
    require(os.geteuid() == 0 or not prefix, "pid namespaces need root")
    command = [*prefix, sys.executable, "-m", "tracer", *ARGUMENTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            pid = process.pid
            if prefix:
                [pid] = wait_until(lambda: children(process.pid))
            wait_until(lambda: blocks(pid, signal.SIGTERM), timeout=10)
            os.kill(pid, signal.SIGTERM)
            assert process.wait(20) == 0
            assert '"reason":"SIGTERM"' in process.stdout.read().splitlines()[-1]
        finally:
            for each in {process.pid, pid}:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)


def blocks(pid, number):
    with open(f"/proc/{pid}/status") as status:
        mask = next(line for line in status if line.startswith("SigBlk:"))
    return int(mask.split()[1], 16) >> (number - 1) & 1


def test_a_stop_before_the_engine_is_made_is_not_forgotten():
    """The reader's end is noticed by a thread, which may be faster than the start."""
    stop = StopRequest()
    stop.request("stdout was closed")
    stop.request("SIGTERM")
    assert stop.reason == "stdout was closed"
    assert stop.sleep_until(boot_ns() + 60 * NS), "the request came before the sleep"
