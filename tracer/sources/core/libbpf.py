"""libbpf.so.1 by ctypes: the functions that loading and reading one object takes.

libbpf 1.x reports failure by a null pointer or a negative result, with errno set
(libbpf.h); its reasons, and the kernel's verifier log, come through a print callback.
"""

import ctypes
import errno
import os

from tracer.errors import PermanentError

LIBRARY = "libbpf.so.1"

_PRINT_WARN = 0
_PRINT_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
SAMPLE_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
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
    "bpf_map_update_elem": (_INT, [_INT, _POINTER, _POINTER, ctypes.c_uint64]),
    "bpf_program__fd": (_INT, [_POINTER]),
    "bpf_program__set_autoload": (_INT, [_POINTER, ctypes.c_bool]),
    "bpf_program__attach": (_POINTER, [_POINTER]),
    "bpf_program__attach_iter": (_POINTER, [_POINTER, _POINTER]),
    "bpf_link__fd": (_INT, [_POINTER]),
    "bpf_link__destroy": (_INT, [_POINTER]),
    "bpf_iter_create": (_INT, [_INT]),
    "bpf_prog_test_run_opts": (_INT, [_INT, _POINTER]),
    "libbpf_num_possible_cpus": (_INT, []),
    "ring_buffer__new": (_POINTER, [_INT, SAMPLE_CALLBACK, _POINTER, _POINTER]),
    "ring_buffer__consume": (_INT, [_POINTER]),
    "ring_buffer__epoll_fd": (_INT, [_POINTER]),
    "ring_buffer__free": (None, [_POINTER]),
    "libbpf_version_string": (_TEXT, []),
}


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


def describe(action: str, number: int, log: list[str]) -> str:
    """Return one line: what failed, why, the remedy if it is known, and libbpf's own words."""
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
