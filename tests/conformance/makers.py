"""How the suite constructs each source."""

from tracer.procfs.fs import ProcFs
from tracer.sources.bcc.source import BccSource
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource

from .watcher import MIN_AGE_NS

MAKERS = {
    "core": lambda: CoreSource(min_age_ns=MIN_AGE_NS),
    "bcc": lambda: BccSource(ProcFs(), min_age_ns=MIN_AGE_NS),
    "proc": lambda: ProcSource(ProcFs(), min_age_ns=MIN_AGE_NS),
}
