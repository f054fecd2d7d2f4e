"""One BPF object: opened, its maps sized, loaded, its programs attached or run."""

import ctypes
import os
from collections.abc import Callable
from typing import Self

from tracer.errors import TEMPORARY_ERRNOS, PermanentError
from tracer.sources.core.libbpf import Libbpf, describe
from tracer.sources.core.maps import Map
from tracer.sources.failures import failure

Run = Callable[[], int]
"""Runs a program once and returns its result."""

RunWith = Callable[[bytes], int]
"""The same with the arguments of its raw tracepoint, 8 bytes each."""


class _TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts (bpf.h of libbpf 1.0)."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class Link:
    """An attached program; destroying it detaches."""

    def __init__(self, libbpf: Libbpf, pointer: int) -> None:
        self._libbpf = libbpf
        self._pointer: int | None = pointer

    def fd(self) -> int:
        """Return the link's descriptor."""
        return int(self._libbpf.calls.bpf_link__fd(self._pointer))

    def destroy(self) -> None:
        """Detach. A second call does nothing."""
        if self._pointer is not None:
            self._libbpf.calls.bpf_link__destroy(self._pointer)
            self._pointer = None


class BpfObject:
    """One object file: opened, sized, loaded, attached."""

    def __init__(self, libbpf: Libbpf, content: bytes) -> None:
        """Open an object.

        Raises:
            PermanentError: it is not a BPF object.
        """
        self._libbpf = libbpf
        self._maps: list[Map] = []
        # libbpf refers to it until the object is closed.
        self._content = ctypes.create_string_buffer(content, max(len(content), 1))
        libbpf.take_log()
        self._pointer: int | None = libbpf.calls.bpf_object__open_mem(
            self._content, len(content), None
        )
        if not self._pointer:
            raise PermanentError(
                describe("the BPF object cannot be read", ctypes.get_errno(), libbpf.take_log())
                + "; build it again with `make setup`, or reinstall zombie-tracer"
            )

    def _map(self, name: str) -> int:
        pointer = self._libbpf.calls.bpf_object__find_map_by_name(self._pointer, name.encode())
        if not pointer:
            raise PermanentError(
                f"the BPF object has no map {name}: it is of another version;"
                " build it again with `make setup`"
            )
        return int(pointer)

    def _program(self, name: str) -> int:
        pointer = self._libbpf.calls.bpf_object__find_program_by_name(self._pointer, name.encode())
        if not pointer:
            raise PermanentError(
                f"the BPF object has no program {name}: it is of another version;"
                " build it again with `make setup`"
            )
        return int(pointer)

    def resize(self, name: str, entries: int) -> None:
        """Set a map's size, before load()."""
        if self._libbpf.calls.bpf_map__set_max_entries(self._map(name), entries) < 0:
            raise PermanentError(
                f"the BPF map {name} cannot have {entries} entries; use a smaller --map-entries"
            )

    def leave_out(self, name: str) -> None:
        """Do not load that program, before load(): verifying it takes milliseconds."""
        if self._libbpf.calls.bpf_program__set_autoload(self._program(name), False) < 0:  # noqa: FBT003 - C
            raise PermanentError(
                f"the BPF program {name} cannot be left out: the object is of another version;"
                " build it again with `make setup`"
            )

    def set_variables(self, section: str, value: bytes) -> None:
        """Set the program's variables in that section, before load()."""
        set_value = self._libbpf.calls.bpf_map__set_initial_value
        if set_value(self._map(section), value, len(value)) < 0:
            raise PermanentError(
                f"the BPF object's {section} is not {len(value)} bytes: it is of another"
                " version; build it again with `make setup`"
            )

    def load(self) -> None:
        """Have the kernel verify the programs and create the maps.

        Raises:
            PermanentError: with the verifier's log.
        """
        self._libbpf.take_log()
        if self._libbpf.calls.bpf_object__load(self._pointer) < 0:
            number = ctypes.get_errno()
            raise PermanentError(
                describe("the kernel refuses the BPF program", number, self._libbpf.take_log())
            )

    def map(self, name: str, value_size: int) -> Map:
        """Return a map, after load()."""
        fd = self._libbpf.calls.bpf_map__fd(self._map(name))
        self._maps.append(Map(self._libbpf, name, fd, value_size))
        return self._maps[-1]

    def program_fd(self, name: str) -> int:
        """Return a program's descriptor, after load()."""
        return int(self._libbpf.calls.bpf_program__fd(self._program(name)))

    def attach(self, name: str) -> Link:
        """Attach a program to what its section names."""
        pointer = self._libbpf.calls.bpf_program__attach(self._program(name))
        return self._link(name, pointer)

    def attach_iterator(self, name: str) -> Link:
        """Make an iterator program ready for reading."""
        pointer = self._libbpf.calls.bpf_program__attach_iter(self._program(name), None)
        return self._link(name, pointer)

    def _link(self, name: str, pointer: int | None) -> Link:
        if not pointer:
            number = ctypes.get_errno()
            raise PermanentError(
                describe(f"{name} cannot be attached", number, self._libbpf.take_log())
            )
        return Link(self._libbpf, pointer)

    def close(self) -> None:
        """Free the object. A second call does nothing."""
        for opened in self._maps:
            opened.close()
        if self._pointer:
            self._libbpf.calls.bpf_object__close(self._pointer)
            self._pointer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def runner(libbpf: Libbpf, program_fd: int) -> Run:
    """Return a function that runs a raw tracepoint program once and returns its result.

    It raises TemporaryError, or PermanentError where the kernel has no BPF_PROG_TEST_RUN
    for such programs.
    """
    opts = _TestRunOpts(sz=ctypes.sizeof(_TestRunOpts))
    return lambda: _run(libbpf, program_fd, opts)


def runner_with(libbpf: Libbpf, program_fd: int) -> RunWith:
    """Return a function like that of runner(), for a program that takes arguments."""

    def run(arguments: bytes) -> int:
        given = ctypes.create_string_buffer(arguments, len(arguments))
        opts = _TestRunOpts(sz=ctypes.sizeof(_TestRunOpts), ctx_size_in=len(arguments))
        opts.ctx_in = ctypes.addressof(given)
        return _run(libbpf, program_fd, opts)

    return run


def _run(libbpf: Libbpf, program_fd: int, opts: _TestRunOpts) -> int:
    if libbpf.calls.bpf_prog_test_run_opts(program_fd, ctypes.byref(opts)) < 0:
        number = ctypes.get_errno()
        what = "the kernel does not run the BPF program on request"
        if number in TEMPORARY_ERRNOS:
            raise failure(what, number)
        raise PermanentError(
            f"{what}: {os.strerror(number)} (errno {number}); Linux 5.10 or later is needed"
        )
    return int(opts.retval)
