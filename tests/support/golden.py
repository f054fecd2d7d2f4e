"""Golden files: the text that a rendering is known to give.

`TRACER_REWRITE_GOLDEN=1 make test` rewrites them; review the difference in git.
"""

import os
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Fail unless the text equals the golden file of that name."""
    path = FOLDER / name
    if os.environ.get("TRACER_REWRITE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"no {path}: write it with TRACER_REWRITE_GOLDEN=1"
    assert text == path.read_text(encoding="utf-8"), f"{name}: rewrite with TRACER_REWRITE_GOLDEN=1"
