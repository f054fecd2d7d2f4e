"""Names written by tenants cannot harm a terminal, and columns align whatever they hold."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.render.text import cut, cut_middle, escape_untrusted, fit, pad, width

ANY = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx: worker", "nginx: worker"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\nb\rc\td", r"a\x0ab\x0dc\x09d"),
        ("\x9b31m", r"\x9b31m"),
        ("user\u202etxt.exe", r"user\u202etxt.exe"),
        ("pay\u200bpal", r"pay\u200bpal"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("a\u00a0b", r"a\xa0b"),
        ("a\u2028b", r"a\u2028b"),
        ("\u3164", r"\u3164"),
        ("größe", "größe"),
        ("日本", "日本"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 4, "e\u0301\u0301" + r"\u0301\u0301"),
        ("\u0301e", r"\u0301e"),
        ("🧟", "🧟"),
    ],
)
def test_escapes(text, shown):
    assert escape_untrusted(text) == shown


@given(ANY)
def test_nothing_harmful_is_left(text):
    shown = escape_untrusted(text)
    shown.encode("utf-8")
    assert escape_untrusted(shown) == shown
    for character in shown:
        assert unicodedata.category(character)[0] != "C"
        assert character == " " or unicodedata.category(character)[0] != "Z"


@given(ANY, st.integers(0, 40))
def test_fit_is_exact_and_cut_never_longer(text, columns):
    shown = escape_untrusted(text)
    assert width(fit(shown, columns)) == columns
    assert width(cut(shown, columns)) <= columns
    assert width(cut_middle(shown, columns)) <= columns
    assert escape_untrusted(cut_middle(shown, columns)) == cut_middle(shown, columns)


def test_cut_middle_keeps_both_ends():
    assert cut_middle("example/pod-with-a-zombie-mtf8f", 15) == "example…e-mtf8f"
    assert cut("日本語", 4) == "日…"
    assert pad("日本", 6) == "日本  "
    assert pad("7", 3, right=True) == "  7"
