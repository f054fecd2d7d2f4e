"""What kind of program a process is, from its executable and its name. Pure.

Whoever built the image chose the names, so they only refine a diagnosis and its advice.
They carry it alone only for programs of the base system that never wait, such as `sleep`.
"""

import posixpath
import re
from enum import StrEnum
from functools import lru_cache

from tracer.model import Process


class Language(StrEnum):
    """What a program is written in, as far as the advice differs."""

    SHELL = "shell"
    PYTHON = "Python"
    NODE = "Node.js"
    JAVA = "Java"
    PERL = "Perl"
    RUBY = "Ruby"
    PHP = "PHP"
    COMPILED = "compiled"


_RUNTIMES = re.compile(
    r"(containerd-shim(-[a-z0-9-]+)?|docker-containerd-shim|dockershim|conmon(rs)?|conmon-rs"
    r"|runc|crun|youki|kata-runtime|runsc|kata-shim)"
)
_NEVER_WAIT = frozenset({"sleep", "tail", "cat", "tee", "yes", "head", "dd", "tac"})
_MULTICALL = frozenset({"busybox", "toybox", "coreutils"})
_SYSTEM_FOLDERS = frozenset({"/bin", "/usr/bin", "/sbin", "/usr/sbin"})
_INITS = frozenset(
    {
        "tini",
        "tini-static",
        "dumb-init",
        "docker-init",
        "catatonit",
        "podman-init",
        "systemd",
        "s6-svscan",
        "runit",
        "runsvdir",
        "pause",
    }
)
_LAZY_SHELLS = frozenset({"sh", "dash", "ash", "ksh", "mksh"})
_LANGUAGES = (
    (re.compile(r"(ba|da|a|z|k|mk|tc|c|fi)?sh"), Language.SHELL),
    (re.compile(r"(python|pypy)[0-9.]*"), Language.PYTHON),
    (re.compile(r"node(js)?|deno|bun"), Language.NODE),
    (re.compile(r"java"), Language.JAVA),
    (re.compile(r"perl[0-9.]*"), Language.PERL),
    (re.compile(r"j?ruby[0-9.]*"), Language.RUBY),
    (re.compile(r"php[-a-z0-9.]*"), Language.PHP),
)


def program(process: Process) -> str:
    """Return the file name of the executable; the process's name where that is unknown."""
    return _program(process.path, process.comm)


@lru_cache(maxsize=1024)
def _program(path: str | None, comm: str) -> str:
    if path is None:
        return comm
    name = posixpath.basename(path.removesuffix(" (deleted)"))
    return comm if name in _MULTICALL else name


def is_runtime(process: Process) -> bool | None:
    """Return whether it is a container runtime's shim or monitor; None when only its name says so.

    The kernel cuts names at 15 bytes: `containerd-shim` is all that is left of
    `containerd-shim-runc-v2`.
    """
    if process.path is not None and _RUNTIMES.fullmatch(program(process)):
        return True
    return None if _RUNTIMES.fullmatch(process.comm) else False


def never_waits(process: Process) -> bool:
    """Return whether it is a program of the base system that never calls wait()."""
    if process.path is None:
        return False
    folder = posixpath.dirname(process.path)
    return folder in _SYSTEM_FOLDERS and program(process) in _NEVER_WAIT


def is_known_init(process: Process) -> bool:
    """Return whether it has the name of a program that is made to reap orphans."""
    return program(process) in _INITS


def is_lazy_shell(process: Process) -> bool:
    """Return whether it is a shell that reaps only between commands; bash reaps on SIGCHLD."""
    return program(process) in _LAZY_SHELLS


def reaps_on_signal(process: Process) -> bool:
    """Return whether its SIGCHLD handler reaps at once, so that it will not reap later."""
    return program(process) in {"bash", "zsh"}


def language(process: Process) -> Language:
    """Return what it is written in; COMPILED where that is unknown."""
    name = program(process)
    for pattern, found in _LANGUAGES:
        if pattern.fullmatch(name):
            return found
    return Language.COMPILED
