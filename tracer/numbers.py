"""Whole numbers as users and other programs write them, however long.

Python's int() refuses a text of more than 4,300 digits with a ValueError of its own.
"""

_MAX_DIGITS = 40
"""More than any number that is compared or kept here has."""


def whole_number(text: str, low: int, high: int) -> int | None:
    """Read a decimal number in a range; None when it is not one, or is out of range."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > _MAX_DIGITS:
        return None
    number = int(digits)
    return number if low <= number <= high else None


def json_int(text: str) -> int | None:
    """Read an integer of JSON, as parse_int of json.loads(); None when nobody can mean it."""
    return int(text) if len(text) <= _MAX_DIGITS else None


def shown(text: str, longest: int = 40) -> str:
    """Quote what a user wrote, shortened, for an error."""
    return repr(text if len(text) <= longest else text[:longest] + "…")
