"""Which source is taken, and what is said when one cannot be."""

import errno

import pytest

from tracer.errors import PermanentError, TemporaryError
from tracer.procfs.fs import ProcFs
from tracer.sources.proc.source import ProcSource
from tracer.sources.select import ORDER, open_first, open_source


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
    assert reason == (
        "core cannot work here: no BTF; bcc cannot start at the moment: no memory; proc works"
    )
    assert len(closed) == 2


def test_a_named_source_is_never_replaced():
    with pytest.raises(PermanentError, match="core cannot work here: no BTF"):
        open_source("core", make=makers([], core=PermanentError("no BTF")))
    source, reason = open_source("proc", make=makers([]))
    assert (source.name, reason) == ("proc", "asked for by name")


def test_the_error_says_whether_another_attempt_can_help():
    permanent = makers([], core=PermanentError("no BTF"), proc=PermanentError("hidepid"))
    with pytest.raises(
        PermanentError, match=r"no source works here: gone; core .*; proc .*hidepid"
    ):
        open_first(ORDER, make=permanent, before="gone")
    full = OSError(errno.EMFILE, "Too many open files", "1/stat")
    some = makers([], core=PermanentError("no BTF"), proc=full)
    with pytest.raises(TemporaryError, match=r"core .*no BTF; proc .*1/stat: Too many open files"):
        open_first(ORDER, make=some)
    with pytest.raises(TemporaryError, match=r"proc cannot start at the moment: .*Too many"):
        open_source("proc", make=some)


def test_a_bug_in_a_source_is_not_taken_for_its_failure():
    closed = []
    with pytest.raises(ValueError, match="bug"):
        open_source("auto", make=makers(closed, core=ValueError("bug")))
    assert len(closed) == 1


def test_proc_refuses_a_root_that_hides_processes(tmp_path):
    (tmp_path / "stat").write_text("cpu 1 2 3\n")
    with pytest.raises(PermanentError, match="hidepid"):
        open_source("proc", make={"proc": lambda: ProcSource(ProcFs(tmp_path), 0)})
