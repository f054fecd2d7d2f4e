"""Duration texts: what users may write, and what the live view shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.durations import UNIT_NS, exact_duration, parse_duration, short_duration
from tracer.errors import UsageError

S = UNIT_NS["s"]


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("500ms", S // 2),
        ("10s", 10 * S),
        ("5m", 300 * S),
        ("1h30m", 5400 * S),
        ("1d", 86_400 * S),
        ("1.5s", 3 * S // 2),
        ("1d2h3m4s5ms", (86_400 + 7200 + 180 + 4) * S + 5_000_000),
        ("0", 0),
        ("0s", 0),
        (" 10s ", 10 * S),
    ],
)
def test_parses(text, ns):
    assert parse_duration(text) == ns


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("10", "unit is missing"),
        ("-1s", "negative"),
        ("10 s", "not a duration"),
        ("10S", "not a duration"),
        ("s", "not a duration"),
        ("1s1h", "smaller one first"),
        ("1s1s", "repeats"),
        ("1e3s", "not a duration"),
        ("nan", "not a duration"),
        ("\u0661s", "not a duration"),
        ("99999d", "10000 days"),
        ("9" * 4000 + "s", "not a duration"),
    ],
)
def test_refuses_with_the_value_and_the_remedy(text, why):
    with pytest.raises(UsageError, match=why) as caught:
        parse_duration(text, name="--min-age")
    assert str(caught.value).startswith("--min-age: ")
    assert "10s" in str(caught.value) or "shorter" in str(caught.value)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (None, "-"),
        (0, "0.0s"),
        (-5, "0.0s"),
        (9_990_000_000, "9.9s"),
        (10 * S, "10s"),
        (59_999_999_999, "59s"),
        (187 * S, "3m07s"),
        (5400 * S, "1h30m"),
        (26 * 86_400 * S, "26d00h"),
        (400 * 86_400 * S, "400d"),
    ],
)
def test_shows_short(ns, text):
    assert short_duration(ns) == text


@given(st.integers(min_value=0, max_value=10_000 * 86_400 * 1000))
def test_what_is_written_is_read_back(milliseconds):
    ns = milliseconds * 1_000_000
    assert parse_duration(exact_duration(ns)) == ns


@given(st.integers(min_value=0, max_value=9_999 * UNIT_NS["d"]))
def test_short_fits_its_column(ns):
    assert len(short_duration(ns)) <= 6


@given(st.text())
def test_any_text_is_a_duration_or_a_usage_error(text):
    try:
        assert parse_duration(text) >= 0
    except UsageError as error:
        assert "\n" not in str(error)  # noqa: PT017 - the error is one line, whatever was written
