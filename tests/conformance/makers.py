"""How the suite constructs each source."""

from tracer.procfs import ProcFs
from tracer.sources.bcc import BccSource
from tracer.sources.core import CoreSource
from tracer.sources.proc import ProcSource

from .watcher import MIN_AGE_NS

MAKERS = {
    "core": lambda: CoreSource(min_age_ns=MIN_AGE_NS),
    "bcc": lambda: BccSource(ProcFs(), min_age_ns=MIN_AGE_NS),
    "proc": lambda: ProcSource(ProcFs(), min_age_ns=MIN_AGE_NS),
}
