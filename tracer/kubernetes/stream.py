"""Read the API's answers as they arrive, one object at a time. Pure.

A list answered from the API server's cache ignores `limit` and comes as one document
with all pods of the node, ten megabytes for a thousand. Unpacked as a whole it costs
ten times that; unpacked item by item, only what is kept of each pod.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from tracer.numbers import json_int

LONGEST = 8 << 20
"""Characters one object may have: etcd takes at most 1.5 MiB; more is not from an API server."""

_SPACE = " \t\r\n"


class ListReader:
    """Takes a `…List` document in pieces of any size and yields its items.

    Attributes:
        rest: the document's other fields, `metadata` among them.
        done: the document is complete.
    """

    def __init__(self) -> None:
        self.rest: dict[str, Any] = {}
        self.done = False
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(parse_int=json_int)
        self._text = ""
        self._place = 0
        self._begun = False
        self._in_items = False

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take a piece and yield the items that it completes.

        Raises:
            ValueError: not a JSON object, or a part is longer than LONGEST.
        """
        self._text = self._text[self._place :] + self._decoder.decode(data)
        self._place = 0
        while not self.done:
            item, progress = self._step()
            if not progress:
                break
            if item is not None:
                yield item
        if len(self._text) - self._place > LONGEST:
            raise ValueError(f"an object of more than {LONGEST} characters")

    def _step(self) -> tuple[Any, bool]:
        """Read one item, field or bracket: (item or None, whether anything was read)."""
        self._skip(_SPACE + "," if self._begun else _SPACE)
        if self._place >= len(self._text):
            return None, False
        sign = self._text[self._place]
        if not self._begun:
            if sign != "{":
                raise ValueError(f"not a JSON object: {self._text[self._place :][:100]!r}")
            self._begun = True
            self._place += 1
            return None, True
        if sign == ("]" if self._in_items else "}"):
            self.done = not self._in_items
            self._in_items = False
            self._place += 1
            return None, True
        return self._item() if self._in_items else (None, self._field())

    def _item(self) -> tuple[Any, bool]:
        try:
            item, self._place = self._json.raw_decode(self._text, self._place)
        except json.JSONDecodeError:
            return None, False
        return item, True

    def _field(self) -> bool:
        start = self._place
        try:
            name, self._place = self._json.raw_decode(self._text, start)
            self._skip(_SPACE + ":")
            if name == "items" and self._text[self._place : self._place + 1] == "[":
                self._in_items = True
                self._place += 1
                return True
            value, end = self._json.raw_decode(self._text, self._place)
        except json.JSONDecodeError:
            self._place = start
            return False
        if end == len(self._text):  # a number might go on in the next piece
            self._place = start
            return False
        self.rest[str(name)] = value
        self._place = end
        return True

    def _skip(self, signs: str) -> None:
        while self._place < len(self._text) and self._text[self._place] in signs:
            self._place += 1


class LineReader:
    """Takes a watch's answer in pieces of any size and yields the object of each line."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take a piece and yield the objects of the lines that it completes.

        Raises:
            ValueError: a line is not JSON, or is longer than LONGEST.
        """
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = b"".join([*self._pieces, line])
            self._pieces, self._length = [], 0
            if whole.strip():
                yield _object(whole)
        if rest:
            self._pieces.append(rest)
            self._length += len(rest)
        if self._length > LONGEST:
            raise ValueError(f"a line of more than {LONGEST} bytes")


def _object(line: bytes) -> Any:
    try:
        return json.loads(line, parse_int=json_int)
    except ValueError as error:  # of UTF-8 or of JSON
        raise ValueError(f"not JSON: {line[:100]!r}") from error
