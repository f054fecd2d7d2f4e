"""Output for terminals and pipes that take ASCII only. Pure."""

import codecs

PLAIN = "tracer.plain"
"""The error handler for streams: what their encoding lacks is replaced, never an error."""

_REPLACED = dict(zip("…●·─│└├↳→≥█▏\u00d7", "~*--|`|`>>##x", strict=True))
"""Characters of this program's own, each by one character: columns stay aligned."""


def register() -> None:
    """Make the error handler known to Python's codecs."""
    codecs.register_error(PLAIN, _plain)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_REPLACED.get(one) or _escaped(one) for one in found), error.end


def _escaped(character: str) -> str:
    r"""Return `\u` escapes, which are valid in JSON, too."""
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def wants_ascii(all_: str | None, ctype: str | None, lang: str | None) -> bool:
    """Return whether LC_ALL, LC_CTYPE and LANG ask for ASCII; unset, they ask for nothing."""
    return (all_ or ctype or lang or "") in {"C", "POSIX"}
