"""A document as JSON of several lines, safe on a terminal. Pure."""

import json


def json_text(document: object, *, indent: int = 2) -> str:
    """Write as ASCII; DEL, which JSON allows in a string, is escaped as the others are."""
    return json.dumps(document, indent=indent, ensure_ascii=True).replace("\x7f", "\\u007f")
