"""Words that a reader would stop at do not come back: in messages, help, docs and manifests.

Looked for in the strings of tracer/ (docstrings are left out), in the documentation, and in
what a person reads of the build and the manifests.
"""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

REPO = Path(__file__).parents[1]

BANNED = {
    # about zombies: they are detected, reported, reaped
    r"tell(s|ing|er)?|told|untold": "report, show, log",
    r"testimon(y|ies)": "findings",
    r"verdicts?|guilt(y)?|trials?|judg(e|es|ed|ing)": "cause, rule, check",
    r"hindsight": "revised after the reap",
    r"hindrances?|lateness|neglect": "the cause code",
    r"floods?|flooded|flooding": "storm",
    r"stand-?still": "uninterruptible sleep (D state)",
    r"mend(s|ed|ing)?|cures?|cured": "fix, fixed",
    r"harmless": "escaped",
    r"nobody's business|whose fault": "say who is responsible",
    # about what could not be seen
    r"looked at": "checked, inspected, examined",
    r"can the agent see|agent can see here": "checks whether the agent can run on this node",
    r"was not seen": "is unknown",
    r"unforeseen": "internal error",
    r"please report this line": "please file a bug",
    r"(is|are|being|goes|was) blind|hostview": "cannot see",
    # about the kernel
    r"odd clone": "non-SIGCHLD clone",
    r"strange session": "foreign session",
    r"its line|(whose|the) line began": "ancestry",
    r"left (it|them) lying": "did not collect it",
    r"dead for so long": "left unreaped for at least DURATION",
    # about the tests
    r"zoo|animals?|enclosures?|zygotes?|workshop": "cause programs, sandbox, fork server",
    # sentences of no English that an operator reads
    r"ask no API server": "do not contact the API server",
    r"they hold secrets": "may contain secrets",
    r"without names of pods": "without pod names",
    r"names of pods": "pod names",
    r"(?<!there )is no (?!longer|more|way)\w+": "is not a",
    r"who asks for it|come round|to be had|child(ren)? of it": "plain words",
    r"(gives|has|is) no way to": "cannot",
}
"""A pattern of whole words, and what to write instead."""


class Allowed(NamedTuple):
    """Text that may hold a banned word."""

    file: str
    text: str
    reason: str


ALLOWED: tuple[Allowed, ...] = ()

_WORDS = re.compile(
    "|".join(rf"(?P<_{i}>\b(?:{p})\b)" for i, p in enumerate(BANNED)), re.IGNORECASE
)
_INSTEAD = list(BANNED.values())

_TEXTS = (
    "README.md",
    "CHANGELOG.md",
    "Dockerfile",
    "Makefile",
    "docs/*.md",
    "deploy/**/*.yaml",
    "deploy/**/*.env",
    "deploy/[!.]*",
    "tests/container/run",
    "tests/kernels/run",
)


def strings():
    """Yield (file, line, text) of every string constant in tracer/ that is no docstring."""
    for path in sorted((REPO / "tracer").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if text and id(node) not in docstrings:
                yield str(path.relative_to(REPO)), node.lineno, node.value


def lines():
    """Yield (file, line, text) of what people read in the repository."""
    files = {path for pattern in _TEXTS for path in REPO.glob(pattern) if path.is_file()}
    for path in sorted(files):
        for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield str(path.relative_to(REPO)), number, text


def offences(found):
    for file, number, text in found:
        for match in _WORDS.finditer(text):
            if any(file.startswith(a.file) and a.text in text for a in ALLOWED):
                continue
            instead = _INSTEAD[int(match.lastgroup[1:])]
            yield f"{file}:{number}: {match.group()!r}, write: {instead}"


def test_the_patterns_find_what_they_are_for():
    examples = ["It was told twice.", "a flood of them", "Looked at once", "can the agent see?"]
    for text in examples:
        assert list(offences([("example", 1, text)])), text
    assert not list(offences([("example", 1, "intelligent, hotelling, foretold zoom")]))


def test_what_is_allowed_says_why():
    assert all(allowed.reason for allowed in ALLOWED)


@pytest.mark.parametrize("source", [strings, lines], ids=["messages", "documents"])
def test_no_word_comes_back_that_a_reader_would_stop_at(source):
    found = list(offences(source()))
    assert not found, "\n".join(["", *found])
