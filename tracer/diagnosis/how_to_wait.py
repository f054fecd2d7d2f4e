"""How a program waits for its children, by the language it is written in. Pure."""

from tracer.diagnosis.programs import Language

_HOW = {
    Language.SHELL: (
        "end background jobs with `wait` (bash reaps by itself; dash and busybox only when they "
        "wait), and do not `exec` a program over a shell that has started some."
    ),
    Language.PYTHON: (
        "call wait() or communicate() on each subprocess.Popen, or poll() now and then (run() does "
        "it all); join() each multiprocessing.Process; os.waitpid after os.fork."
    ),
    Language.NODE: (
        "child_process reaps by itself unless the event loop is blocked (Atomics.wait, busy "
        "loops) or an addon forked; what pid 1 adopts it never reaps."
    ),
    Language.JAVA: (
        "ProcessBuilder reaps by itself; look at JNI or agents that fork. What a JVM as pid 1 "
        "adopts it never reaps: put an init before it."
    ),
    Language.PERL: (
        "waitpid each fork, close each pipe open, or $SIG{CHLD} = 'IGNORE' before the first fork."
    ),
    Language.RUBY: "call Process.wait, or Process.detach(pid) right after each spawn or fork.",
    Language.PHP: (
        "call pcntl_waitpid(-1, $status, WNOHANG) in the loop, or proc_close for each proc_open."
    ),
    Language.COMPILED: (
        "C/C++: waitpid for each fork, or sigaction(SIGCHLD) with SA_NOCLDWAIT before the first; "
        "Go: Cmd.Wait after each Cmd.Start (Run does both); Rust: Child::wait, dropping it "
        "does not."
    ),
}
_ANY = "on SIGCHLD, while (waitpid(-1, NULL, WNOHANG) > 0);"


def how_to_wait(language: Language | None) -> str:
    """Return what to call, as the end of a sentence; None for a loop that takes any child."""
    return _ANY if language is None else _HOW[language]
