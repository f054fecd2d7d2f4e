"""Validates log lines: every line that the suite produces goes through here."""

import json
from functools import cache
from importlib.resources import files

from jsonschema import Draft202012Validator


@cache
def validator() -> Draft202012Validator:
    """Return the validator of the schema that the package ships."""
    schema = json.loads((files("tracer") / "schema" / "log-line.schema.json").read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(document: object) -> list[str]:
    """Return what is wrong with one parsed line, as `path: message`."""
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(document)]


def parse_line(line: str | bytes) -> dict:
    """Parse and validate one line; fail with what is wrong with it."""
    raw = line.encode() if isinstance(line, str) else line
    text = raw.decode("utf-8")
    document = json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    found = problems(document)
    assert not found, f"{found} in {text}"
    return document


def parse_lines(output: str | bytes) -> list[dict]:
    """Parse and validate a whole log; the last line must be complete."""
    raw = output.encode() if isinstance(output, str) else output
    assert not raw or raw.endswith(b"\n"), f"cut off: {raw[-200:]!r}"
    return [parse_line(line) for line in raw.split(b"\n")[:-1]]


def check_scan(documents: list[dict]) -> None:
    """Fail unless these are what `scan -o json` prints: zombie lines without `event`."""
    for document in documents:
        assert "event" not in document
        found = problems({**document, "event": "zombie_detected"})
        assert not found, f"{found} in {document}"
