"""What a command says on stderr: one line, whatever others wrote into it."""

import sys

from tracer.render.text import one_line


def say(text: str) -> None:
    """Print one line that begins with the program's name.

    Args:
        text: may quote names, and messages of the API server or the kernel.
    """
    print(f"tracer: {one_line(text)}", file=sys.stderr, flush=True)
