"""How a program waits for its children, by the language it is written in. Pure."""

from tracer.diagnosis.programs import Language

ANY_CHILD = "On SIGCHLD, loop: `while (waitpid(-1, NULL, WNOHANG) > 0);`."
"""For a parent that must take whatever child it gets."""

_HOW = {
    Language.SHELL: (
        "In the script, end background jobs with `wait` (bash reaps by itself; dash and busybox "
        "sh only when they wait), and do not `exec` a program in a shell that has started jobs."
    ),
    Language.PYTHON: (
        "In Python, call wait(), communicate() or, regularly, poll() on each subprocess.Popen "
        "(run() does it all); join() each multiprocessing.Process; os.waitpid() after os.fork()."
    ),
    Language.NODE: (
        "In Node.js, child_process reaps by itself unless the event loop is blocked "
        "(Atomics.wait, busy loops) or a native addon forked; as PID 1, Node.js never reaps "
        "the orphans it adopts."
    ),
    Language.JAVA: (
        "In Java, ProcessBuilder reaps by itself, so check JNI code and agents that fork; as "
        "PID 1, a JVM never reaps the orphans it adopts and needs an init in front of it."
    ),
    Language.PERL: (
        "In Perl, call waitpid for each fork, close each pipe open, or set "
        "$SIG{CHLD} = 'IGNORE' before the first fork."
    ),
    Language.RUBY: (
        "In Ruby, call Process.wait, or Process.detach(pid) right after each spawn or fork."
    ),
    Language.PHP: (
        "In PHP, call pcntl_waitpid(-1, $status, WNOHANG) in the main loop, or proc_close for "
        "each proc_open."
    ),
    Language.COMPILED: (
        "In C or C++, call waitpid() for each fork, or set SA_NOCLDWAIT for SIGCHLD before the "
        "first one; in Go, Cmd.Wait after each Cmd.Start (Run does both); in Rust, Child::wait "
        "(dropping a Child does not wait)."
    ),
}


def how_to_wait(language: Language) -> str:
    """Return what to call, as one sentence."""
    return _HOW[language]
