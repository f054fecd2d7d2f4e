"""What each source knows of a zombie. The only place that says so; docs/sources.md shows it."""

SOURCES = ("core", "bcc", "proc")

YES = "yes"
NO = "no"
SNAPSHOT = "snapshot"
"""Right once a snapshot was taken; before that right or unknown."""
PROC = "as /proc has it"
"""Right but for the kernel's own errors in /proc."""
MOSTLY = "mostly"
"""Right, and seldom unknown."""

KNOWN = {
    "identity": (YES, YES, YES),
    "parent_pid": (YES, YES, YES),
    "exit_status": (YES, PROC, PROC),
    "vpid": (YES, YES, YES),
    "pid_namespace": (YES, YES, YES),
    "uid": (YES, YES, YES),
    "comm": (YES, YES, YES),
    "tracer_pid": (SNAPSHOT, YES, YES),
    "exit_boot_ns": (YES, YES, NO),
    "forker": (YES, MOSTLY, NO),
    "exit_parent_pid": (YES, NO, NO),
    "origin": (YES, NO, NO),
    "waits": (YES, YES, NO),
    "exits": (YES, YES, NO),
}
"""Of a child that died while the source watched: fact → by source, in the order of SOURCES."""

KNOWN_OF_OLDER = {
    **KNOWN,
    "exit_boot_ns": (NO, NO, NO),
    "forker": (NO, NO, NO),
    "exit_parent_pid": (NO, NO, NO),
    "origin": (NO, NO, NO),
}
"""The same of a child that was dead before the source started."""

WORDS = {
    "identity": "pid and start time",
    "parent_pid": "parent now",
    "exit_status": "exit code or signal",
    "vpid": "pid in its own namespace",
    "pid_namespace": "pid namespace",
    "uid": "user",
    "comm": "name",
    "tracer_pid": "its tracer",
    "exit_boot_ns": "time of death",
    "forker": "the process that forked it",
    "exit_parent_pid": "parent when it died",
    "origin": "how its ancestry begins in its pid namespace",
    "waits": "how its parent waits",
    "exits": "number of deaths",
}


def known(source, fact, *, older=False):
    """Return YES, NO, SNAPSHOT, PROC or MOSTLY."""
    return (KNOWN_OF_OLDER if older else KNOWN)[fact][SOURCES.index(source)]


def table():
    """Return the table as lines of Markdown."""
    signs = {YES: "✔", NO: "no", SNAPSHOT: "from the next snapshot on", PROC: "✔ ²", MOSTLY: "✔ ³"}
    lines = ["| fact | " + " | ".join(SOURCES) + " |", "|---|" + "---|" * len(SOURCES)]
    for fact, words in WORDS.items():
        cells = [signs[value] for value in KNOWN[fact]]
        if KNOWN_OF_OLDER[fact] != KNOWN[fact]:
            cells = [cell.replace("✔", "✔ ¹") for cell in cells]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return lines
