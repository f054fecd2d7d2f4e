"""Text for terminals: names written by tenants are escaped, and columns align.

A process may call itself anything: an escape sequence that clears the screen, a
bidirectional override that reverses the line, a newline with a forged line after it.
"""

import re
import unicodedata
from functools import lru_cache

_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
"""Characters that are drawn as nothing although Unicode calls them letters or marks."""

_SUSPECT = re.compile(r"[^\x20-\x7e]")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
_INVISIBLE_BLANK = re.compile(f"[{_BLANKS}]")
_MAX_MARKS = 2
"""Combining marks on one letter: no language needs more, and a stack of them covers other lines."""


def escape_untrusted(text: str) -> str:
    r"""Escape what would move the cursor, reorder or hide text, or cannot be encoded.

    Control, escape, bidirectional, zero-width, private-use and unassigned characters,
    blanks other than the space, and lone surrogates become `\x1b`, `\u202e`,
    `\U000e0041`. The result is one line, can be encoded as UTF-8, and a second call
    leaves it unchanged.
    """
    if text.isascii() and text.isprintable():
        return text
    visible = _SUSPECT.sub(lambda found: _visible(found[0]), text)
    return _without_towers(visible)


def one_line(text: str) -> str:
    """Join the lines of a message with spaces, and escape what others wrote into it."""
    return escape_untrusted(" ".join(text.split()))


@lru_cache(maxsize=1024)
def _visible(character: str) -> str:
    hidden = (
        unicodedata.category(character) in _INVISIBLE_CATEGORIES
        or _INVISIBLE_BLANK.match(character) is not None
    )
    if not hidden:
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _without_towers(text: str) -> str:
    """Escape combining marks beyond the second on one letter, and those without a letter."""
    out: list[str] = []
    marks = _MAX_MARKS
    for character in text:
        if char_width(character):
            marks = 0
            out.append(character)
        elif marks < _MAX_MARKS:
            marks += 1
            out.append(character)
        else:
            out.append(f"\\u{ord(character):04x}")
    return "".join(out)


@lru_cache(maxsize=4096)
def char_width(character: str) -> int:
    """Return how many columns an escaped text's character takes: 0, 1 or 2 (UAX #11)."""
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def width(text: str) -> int:
    """Return how many columns an escaped text takes."""
    return len(text) if text.isascii() else sum(map(char_width, text))


def cut(text: str, columns: int) -> str:
    """Shorten to at most so many columns, with `…` for what is cut off at the end."""
    if width(text) <= columns:
        return text
    return _head(text, columns - 1) + "…" if columns > 0 else ""


def cut_middle(text: str, columns: int) -> str:
    """Shorten in the middle: pod names and paths are recognised by both ends."""
    if width(text) <= columns:
        return text
    if columns < 5:
        return cut(text, columns)
    tail = _head(text[::-1], (columns - 1) // 2)[::-1]
    # A mark must not begin the tail: its letter was cut off.
    while tail and not char_width(tail[0]):
        tail = tail[1:]
    return _head(text, columns - 1 - width(tail)) + "…" + tail


def _head(text: str, columns: int) -> str:
    if text.isascii():
        return text[: max(columns, 0)]
    used = 0
    for index, character in enumerate(text):
        used += char_width(character)
        if used > columns:
            return text[:index]
    return text


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Fill with spaces to so many columns; `right` aligns to the right."""
    blanks = " " * max(0, columns - width(text))
    return blanks + text if right else text + blanks


def fit(text: str, columns: int, *, right: bool = False) -> str:
    """Cut or fill to exactly so many columns."""
    return pad(cut(text, columns), columns, right=right)
