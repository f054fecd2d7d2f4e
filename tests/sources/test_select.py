"""Which source is taken, and what is said when one cannot be."""

import pytest

from tracer.errors import PermanentError, TemporaryError
from tracer.procfs.fs import ProcFs
from tracer.sources.proc.source import ProcSource
from tracer.sources.select import next_after, open_source


class Broken(ProcSource):
    """A source that cannot start, as where BPF is refused."""

    def __init__(self, error, closed):
        super().__init__(ProcFs(), 0)
        self.error = error
        self.closed = closed

    def start(self):
        raise self.error

    def close(self):
        self.closed.append(self)


def makers(closed, **errors):
    make = {name: lambda error=error: Broken(error, closed) for name, error in errors.items()}
    return {**make, "proc": lambda: ProcSource(ProcFs(), 0)} if "proc" not in errors else make


def test_auto_takes_the_first_that_works_and_says_why_not_the_others():
    closed = []
    make = makers(closed, core=PermanentError("no BTF"), bcc=TemporaryError("no memory"))
    source, reason = open_source("auto", make=make)
    assert source.name == "proc"
    assert reason == ("core cannot work here: no BTF; bcc cannot work here: no memory; proc works")
    assert len(closed) == 2


def test_a_named_source_is_never_replaced():
    with pytest.raises(PermanentError, match="core cannot work here: no BTF"):
        open_source("core", make=makers([], core=PermanentError("no BTF")))
    source, reason = open_source("proc", make=makers([]))
    assert (source.name, reason) == ("proc", "asked for by name")


def test_in_flight_only_lesser_sources_are_tried():
    make = makers([], bcc=PermanentError("no bcc"))
    source, reason = next_after("core", PermanentError("link gone"), make=make)
    assert source.name == "proc"
    assert reason == "core failed: link gone; bcc cannot work here: no bcc; proc works"
    with pytest.raises(PermanentError, match=r"no source .* proc failed: gone"):
        next_after("proc", PermanentError("gone"), make=make)


def test_proc_refuses_a_root_that_hides_processes(tmp_path):
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    with pytest.raises(PermanentError, match="hidepid"):
        open_source("proc", make={"proc": lambda: ProcSource(ProcFs(tmp_path), 0)})
