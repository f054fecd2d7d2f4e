"""Label selectors in kubectl's syntax (-l). Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from tracer.errors import UsageError


class Operator(StrEnum):
    """How a requirement of a label selector compares."""

    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "!"
    GREATER = ">"
    LESS = "<"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a pod's labels; `a=b` is IN with one value, `a!=b` NOT_IN."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Apply as the API server does: NOT_IN also holds where the label is absent."""
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value is not None and value in self.values
            case Operator.NOT_IN:
                return value is None or value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.ABSENT:
                return value is None
            case Operator.GREATER | Operator.LESS:
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        (bound,) = self.values
        if value is None or not re.fullmatch(r"[+-]?[0-9]{1,19}", value):
            return False
        if self.operator is Operator.GREATER:
            return int(value) > int(bound)
        return int(value) < int(bound)


Selector = tuple[Requirement, ...]
"""All must hold. Selectors given by several -l are joined with `+`."""


_EXAMPLES = "write it as for kubectl -l, for example app=web,tier!=cache,env in (dev,test),!canary"
_TOKEN = re.compile(r"\s*(?:(?P<sign>==|!=|[=!<>(),])|(?P<word>[^\s=!<>(),]+))")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def parse_selector(text: str) -> Selector:
    """Parse a label selector in kubectl's syntax.

    Knows `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, `a>1`, `a<1`,
    joined by commas (k8s.io/apimachinery/pkg/labels). An empty text selects everything.

    Raises:
        UsageError: the text is not a selector; says where, and shows an example.
    """
    parser = _Parser(text)
    requirements: list[Requirement] = []
    while parser.peek() is not None:
        if requirements:
            parser.expect(",")
        requirements.append(parser.requirement())
    return tuple(requirements)


class _Parser:
    """Recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = [
            (match["sign"] or match["word"], match["word"] is not None)
            for match in _TOKEN.finditer(text)
        ]
        self._place = 0

    def peek(self) -> str | None:
        return self._tokens[self._place][0] if self._place < len(self._tokens) else None

    def expect(self, sign: str) -> None:
        if self.peek() != sign:
            raise self._error(f"expected {sign!r}")
        self._place += 1

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self._place += 1
            return Requirement(self._key(), Operator.ABSENT)
        key = self._key()
        sign = self.peek()
        if sign in (None, ","):
            return Requirement(key, Operator.EXISTS)
        self._place += 1
        if sign in ("=", "=="):
            return Requirement(key, Operator.IN, frozenset({self._value()}))
        if sign == "!=":
            return Requirement(key, Operator.NOT_IN, frozenset({self._value()}))
        if sign in (">", "<"):
            bound = self._value()
            if not _INTEGER.fullmatch(bound):
                raise self._error(f"{bound!r} is not an integer")
            return Requirement(key, Operator(sign), frozenset({bound}))
        if sign in ("in", "notin"):
            return Requirement(key, Operator(sign), self._values())
        self._place -= 1
        raise self._error("expected one of = == != in notin > <")

    def _key(self) -> str:
        key = self._word("a label's name")
        prefix, slash, name = key.rpartition("/")
        proper_prefix = not slash or (len(prefix) <= 253 and _PREFIX.fullmatch(prefix))
        if not proper_prefix or not _NAME.fullmatch(name):
            raise self._error(f"{key!r} is not a label name")
        return key

    def _value(self) -> str:
        if self.peek() in (None, ",", ")"):
            return ""  # `a=` asks for the empty value
        value = self._word("a value")
        if not _NAME.fullmatch(value):
            raise self._error(f"{value!r} is not a label value")
        return value

    def _values(self) -> frozenset[str]:
        self.expect("(")
        values = {self._value()}
        while self.peek() == ",":
            self._place += 1
            values.add(self._value())
        self.expect(")")
        return frozenset(values)

    def _word(self, what: str) -> str:
        if self._place >= len(self._tokens) or not self._tokens[self._place][1]:
            raise self._error(f"expected {what}")
        self._place += 1
        return self._tokens[self._place - 1][0]

    def _error(self, what: str) -> UsageError:
        found = self.peek()
        where = "at its end" if found is None else f"at {found!r}"
        return UsageError(f"invalid label selector {self._text!r} {where}: {what}; {_EXAMPLES}")
