"""The three sources, started on the real machine for a test."""

import contextlib

from support.kernel import require
from support.zombies import start_ticks, wait_until
from tracer.clock import boot_ns
from tracer.errors import PermanentError
from tracer.model import Child, Identity
from tracer.procfs.fs import ProcFs
from tracer.sources.bcc.source import BccSource
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource

MAKERS = {
    "core": lambda min_age: CoreSource(min_age_ns=min_age),
    "bcc": lambda min_age: BccSource(ProcFs(), min_age),
    "proc": lambda min_age: ProcSource(ProcFs(), min_age),
}


@contextlib.contextmanager
def started(name, min_age_ns):
    """Yield that source, started; skip the test where it cannot work."""
    source = MAKERS[name](min_age_ns)
    try:
        try:
            source.start()
        except PermanentError as error:
            require(False, str(error))
        yield source
    finally:
        source.close()


def identities(pids):
    """Return the identities of processes that are there."""
    return {Identity(pid, start_ticks(pid)) for pid in pids}


def poll_until(source, wanted, seen, kind=Child):
    """Poll until all of these were returned; add what came to `seen`."""

    def arrived():
        seen.extend(source.poll(boot_ns()))
        return wanted <= {one.identity for one in seen if isinstance(one, kind)}

    wait_until(arrived, what=f"each {kind.__name__}")
