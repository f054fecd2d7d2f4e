"""JSON on one line: exact, safe on a terminal, and bounded whatever is in it."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import records as made
from support.schema import parse_line

from tracer.render.document import event_document
from tracer.render.json_text import json_text
from tracer.sinks.json_line import MAX_BYTES, json_line, log_line

ANY_TEXT = st.text(st.characters(codec=None))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
)
UNSAFE = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010))}
UNSAFE |= {"\u202e", "\u2066", "\ufeff", "\U000e0041"}


def document(**changes):
    record = made.record(**changes)
    return event_document(
        made.event(of=record), node_name=made.NODE, to_wall_ns=made.TO_WALL_NS, version="0.1.0"
    )


def visible(value):
    """Return what a value is expected to be read back as."""
    if isinstance(value, str):
        return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [visible(each) for each in value]
    if isinstance(value, dict):
        return {visible(name): visible(each) for name, each in value.items()}
    return value


@given(VALUES)
def test_any_value_reads_back_and_is_safe(value):
    line = json_line(value)
    line.encode("utf-8")
    assert json.loads(line) == visible(value)
    assert not set(line) & UNSAFE


def test_infinities_become_null():
    assert json_line({"a": float("inf"), "b": [float("nan"), 1.5]}) == '{"a":null,"b":[null,1.5]}'
    assert json_line({"a": "\udc80", "b": float("nan")}) == '{"a":"\\\\udc80","b":null}'


def test_del_alone_is_escaped():
    """ASCII text is not safe by itself."""
    assert json_line("\x7f") == '"\\u007f"'


@given(VALUES)
def test_indented_json_is_ascii_and_safe(value):
    """What `tracer explain -o json` prints; DEL is ASCII, and json.dumps leaves it as it is."""
    text = json_text(value)
    assert text.isascii()
    assert not set(text) & (UNSAFE - {"\n"})
    json.loads(text)


def test_keys_stay_in_order_and_numbers_exact():
    value = {"z": 1, "a": 2**64 + 1, "m": 0.1}
    assert json_line(value) == '{"z":1,"a":18446744073709551617,"m":0.1}'


def test_a_line_within_the_bound_is_not_touched():
    built = document()
    assert log_line(built) == (json_line(built) + "\n").encode()


@pytest.mark.parametrize("letter", ["x", "é", "\u202e", "\U000e0041", "\udc80", "\x1b"])
def test_no_line_is_longer_than_the_contract_says(letter):
    """Whatever tenants write, and however many bytes its escapes take."""
    huge = letter * 200_000
    built = document(
        dead=made.child(comm=huge),
        parent=made.process(comm=huge, path=huge),
        command_line=huge,
    )
    line = log_line(built)
    assert len(line) <= MAX_BYTES
    assert parse_line(line)["truncated"] is True
    assert parse_line(line)["process"]["pid"] == built["process"]["pid"]


def test_only_what_is_long_is_shortened():
    line = parse_line(log_line(document(command_line="java " + "-Dx=y " * 10_000)))
    assert line["parent"]["command_line"].startswith("java -Dx=y")
    assert line["parent"]["command_line"].endswith("…")
    assert line["cause"]["advice"] == made.NEVER.advice


def test_a_long_list_is_cut():
    many = [{"name": f"namespace-{number:04}", "zombies": 1} for number in range(2_000)]
    line = json.loads(log_line({"zombies": {"by_namespace": many}}))
    assert line["zombies"]["by_namespace"] == many[: len(line["zombies"]["by_namespace"])]
    assert line["truncated"] is True
