"""The dozen functions of libbpf.so.1 that loading one object takes, by ctypes.

libbpf 1.x reports failure by a null pointer or a negative result, with errno set
(libbpf.h); its reasons, and the kernel's verifier log, come through a print callback.
"""

import ctypes
import errno
import os
from collections.abc import Callable
from typing import Self

from tracer.errors import PermanentError

LIBRARY = "libbpf.so.1"

_PRINT_WARN = 0
_PRINT_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_SAMPLE_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_LOG_LINES_SHOWN = 12

_POINTER, _INT, _SIZE, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p

_SIGNATURES: dict[str, tuple[type | None, list[type]]] = {
    "libbpf_set_print": (_POINTER, [_PRINT_CALLBACK]),
    "bpf_object__open_mem": (_POINTER, [_POINTER, _SIZE, _POINTER]),
    "bpf_object__load": (_INT, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__find_map_by_name": (_POINTER, [_POINTER, _TEXT]),
    "bpf_object__find_program_by_name": (_POINTER, [_POINTER, _TEXT]),
    "bpf_map__set_max_entries": (_INT, [_POINTER, ctypes.c_uint32]),
    "bpf_map__set_initial_value": (_INT, [_POINTER, _POINTER, _SIZE]),
    "bpf_map__fd": (_INT, [_POINTER]),
    "bpf_map_lookup_elem": (_INT, [_INT, _POINTER, _POINTER]),
    "bpf_program__fd": (_INT, [_POINTER]),
    "bpf_program__set_autoload": (_INT, [_POINTER, ctypes.c_bool]),
    "bpf_program__attach": (_POINTER, [_POINTER]),
    "bpf_program__attach_iter": (_POINTER, [_POINTER, _POINTER]),
    "bpf_link__fd": (_INT, [_POINTER]),
    "bpf_link__destroy": (_INT, [_POINTER]),
    "bpf_iter_create": (_INT, [_INT]),
    "bpf_prog_test_run_opts": (_INT, [_INT, _POINTER]),
    "libbpf_num_possible_cpus": (_INT, []),
    "ring_buffer__new": (_POINTER, [_INT, _SAMPLE_CALLBACK, _POINTER, _POINTER]),
    "ring_buffer__consume": (_INT, [_POINTER]),
    "ring_buffer__epoll_fd": (_INT, [_POINTER]),
    "ring_buffer__free": (None, [_POINTER]),
    "libbpf_version_string": (_TEXT, []),
}


class _TestRunOpts(ctypes.Structure):
    """struct bpf_test_run_opts (bpf.h of libbpf 1.0)."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("data_in", _POINTER),
        ("data_out", _POINTER),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", _POINTER),
        ("ctx_out", _POINTER),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    )


class Libbpf:
    """The library with every signature declared, and what it printed last."""

    def __init__(self) -> None:
        try:
            self.calls = ctypes.CDLL(LIBRARY, use_errno=True)
        except OSError as error:
            raise PermanentError(
                f"{LIBRARY} cannot be loaded ({error}); install libbpf 1.0 or later"
                " (Debian and Ubuntu: apt-get install libbpf1)"
            ) from error
        for name, (result, arguments) in _SIGNATURES.items():
            try:
                function = getattr(self.calls, name)
            except AttributeError as error:
                raise PermanentError(
                    f"{LIBRARY} has no {name}; install libbpf 1.0 or later"
                ) from error
            function.restype, function.argtypes = result, arguments
        self._log: list[str] = []
        # Kept, since libbpf keeps the address of it.
        self._print = _PRINT_CALLBACK(self._take_print)
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.restype = _INT
        self._vsnprintf.argtypes = [_POINTER, _SIZE, _TEXT, _POINTER]
        self.calls.libbpf_set_print(self._print)

    def _take_print(self, level: int, text: bytes, arguments: int) -> int:
        # Runs inside libbpf, where an exception would vanish: nothing here can raise.
        if level == _PRINT_WARN:
            room = ctypes.create_string_buffer(1 << 16)
            self._vsnprintf(room, len(room), text, arguments)
            self._log.extend(room.value.decode("utf-8", "replace").splitlines())
        return 0

    def take_log(self) -> list[str]:
        """Return the warnings printed since the last call, the verifier's log among them."""
        log, self._log = self._log, []
        return log

    def version(self) -> str:
        """Return the library's version, as `v1.1`."""
        return bytes(self.calls.libbpf_version_string()).decode()


def _describe(action: str, number: int, log: list[str]) -> str:
    said = [line.strip() for line in log if line.strip()]
    # libbpf prints its own report around the verifier's last words: both ends matter.
    shown = " | ".join(said[-_LOG_LINES_SHOWN:])
    text = f"{action}: {os.strerror(number)} (errno {number})"
    if number in (errno.EPERM, errno.EACCES):
        text += (
            "; run as root, or with the capabilities CAP_BPF and CAP_PERFMON, before Linux 5.11"
            " also CAP_SYS_RESOURCE or no limit on locked memory"
            " (`tracer doctor` shows what is missing)"
        )
    return f"{text}; libbpf and the kernel's verifier said: {shown}" if shown else text


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


class Map:
    """A map of a loaded object."""

    def __init__(self, libbpf: Libbpf, fd: int, value_size: int) -> None:
        self._lookup = libbpf.calls.bpf_map_lookup_elem
        self.fd = fd
        self._value = ctypes.create_string_buffer(value_size)

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value under that key, None when there is none."""
        if self._lookup(self.fd, key, self._value) < 0:
            return None
        return self._value.raw


class BpfObject:
    """One object file: opened, sized, loaded, attached."""

    def __init__(self, libbpf: Libbpf, content: bytes) -> None:
        """Open an object.

        Raises:
            PermanentError: it is not a BPF object.
        """
        self._libbpf = libbpf
        # libbpf refers to it until the object is closed.
        self._content = ctypes.create_string_buffer(content, max(len(content), 1))
        libbpf.take_log()
        self._pointer: int | None = libbpf.calls.bpf_object__open_mem(
            self._content, len(content), None
        )
        if not self._pointer:
            raise PermanentError(
                _describe("the BPF object cannot be read", ctypes.get_errno(), libbpf.take_log())
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
            raise PermanentError(f"map {name} cannot have {entries} entries")

    def leave_out(self, name: str) -> None:
        """Do not load that program, before load(): verifying it takes its time."""
        if self._libbpf.calls.bpf_program__set_autoload(self._program(name), False) < 0:  # noqa: FBT003 - C
            raise PermanentError(f"program {name} cannot be left out")

    def set_constants(self, value: bytes) -> None:
        """Set the program's `const volatile` variables, before load()."""
        set_value = self._libbpf.calls.bpf_map__set_initial_value
        if set_value(self._map(".rodata"), value, len(value)) < 0:
            raise PermanentError(
                f"the BPF object's constants are not {len(value)} bytes: it is of another"
                " version; build it again with `make setup`"
            )

    def load(self) -> None:
        """Let the kernel verify and take the programs and maps.

        Raises:
            PermanentError: with the verifier's words.
        """
        self._libbpf.take_log()
        if self._libbpf.calls.bpf_object__load(self._pointer) < 0:
            number = ctypes.get_errno()
            raise PermanentError(
                _describe("the kernel refuses the BPF program", number, self._libbpf.take_log())
            )

    def map(self, name: str, value_size: int) -> Map:
        """Return a map, after load()."""
        return Map(self._libbpf, self._libbpf.calls.bpf_map__fd(self._map(name)), value_size)

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
                _describe(f"{name} cannot be attached", number, self._libbpf.take_log())
            )
        return Link(self._libbpf, pointer)

    def close(self) -> None:
        """Free the object. A second call does nothing."""
        if self._pointer:
            self._libbpf.calls.bpf_object__close(self._pointer)
            self._pointer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RingBuffer:
    """Reads a ring buffer map into a list of byte strings."""

    def __init__(self, libbpf: Libbpf, fd: int) -> None:
        self._libbpf = libbpf
        self._taken: list[bytes] = []
        # Copies and returns: the bytes are the kernel's again afterwards.
        self._callback = _SAMPLE_CALLBACK(self._take)
        self._pointer: int | None = libbpf.calls.ring_buffer__new(fd, self._callback, None, None)
        if not self._pointer:
            raise PermanentError(
                _describe("the ring buffer cannot be read", ctypes.get_errno(), libbpf.take_log())
            )

    def _take(self, _context: int, data: int, size: int) -> int:
        self._taken.append(ctypes.string_at(data, size))
        return 0

    def fd(self) -> int:
        """Return a descriptor that is readable when there is something."""
        return int(self._libbpf.calls.ring_buffer__epoll_fd(self._pointer))

    def consume(self) -> list[bytes]:
        """Return all samples that are there, oldest first.

        Raises:
            PermanentError: the buffer can no longer be read.
        """
        result = self._libbpf.calls.ring_buffer__consume(self._pointer)
        if result < 0:
            raise PermanentError(f"the ring buffer cannot be read: {os.strerror(-result)}")
        taken = self._taken.copy()
        self._taken.clear()
        return taken

    def close(self) -> None:
        """Free it. A second call does nothing."""
        if self._pointer:
            self._libbpf.calls.ring_buffer__free(self._pointer)
            self._pointer = None


def runner(libbpf: Libbpf, program_fd: int) -> Callable[[], int]:
    """Return a function that runs a raw tracepoint program once and returns its result.

    It raises PermanentError where the kernel has no BPF_PROG_TEST_RUN for such programs.
    """
    opts = _TestRunOpts(sz=ctypes.sizeof(_TestRunOpts))
    pointer = ctypes.byref(opts)
    call = libbpf.calls.bpf_prog_test_run_opts

    def run() -> int:
        if call(program_fd, pointer) < 0:
            raise PermanentError(
                "the kernel does not run the ageing program:"
                f" {os.strerror(ctypes.get_errno())}; Linux 5.10 or later is needed"
            )
        return int(opts.retval)

    return run
