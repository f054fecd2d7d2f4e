"""Lists and watches are read the same however the network cuts them up."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.kubernetes.stream import LONGEST, LineReader, ListReader

HUGE = "9" * 5000


def test_a_number_of_5000_digits_is_unknown_and_loses_nothing():
    pod = f'{{"metadata": {{"name": "web", "generation": {HUGE}}}}}'
    reader = ListReader()
    document = f'{{"items": [{pod}, {pod}], "metadata": {{"resourceVersion": "7", "n": {HUGE}}}}}'
    expected = {"metadata": {"name": "web", "generation": None}}
    assert list(reader.feed(document.encode())) == [expected, expected]
    assert reader.rest["metadata"]["resourceVersion"] == "7"
    assert list(LineReader().feed(pod.encode() + b"\n")) == [expected]


value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
item = st.dictionaries(st.text(max_size=6), value, max_size=4)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(
    st.lists(item, max_size=5),
    st.dictionaries(st.text(max_size=5).filter(lambda key: key != "items"), value, max_size=3),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.booleans(),
    st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}]),
)
def test_list_is_the_same_in_any_pieces(items, rest, cuts, items_first, form):
    body = {"items": items, **rest} if items_first else {**rest, "items": items}
    data = json.dumps(body, **form).encode()
    reader = ListReader()
    found = [one for piece in pieces(data, cuts) for one in reader.feed(piece)]
    assert found == items
    assert reader.rest == rest
    assert reader.done


@given(st.lists(item, max_size=5), st.lists(st.integers(0, 10_000), max_size=12))
def test_watch_is_the_same_in_any_pieces(events, cuts):
    data = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    reader = LineReader()
    assert [one for piece in pieces(data, cuts) for one in reader.feed(piece)] == events


@given(st.binary(), st.lists(st.integers(0, 10_000), max_size=4))
def test_any_bytes_are_read_or_refused(data, cuts):
    for reader in (ListReader(), LineReader()):
        try:
            for piece in pieces(data, cuts):
                list(reader.feed(piece))
        except ValueError:
            pass  # what callers expect of nonsense


def test_null_items_as_go_sends_an_empty_list():
    reader = ListReader()
    assert list(reader.feed(b'{"kind":"PodList","items":null}')) == []
    assert reader.done


def test_half_a_list_is_not_done():
    reader = ListReader()
    assert list(reader.feed(b'{"items":[{"a":1},{"b":')) == [{"a": 1}]
    assert not reader.done


@pytest.mark.parametrize(
    ("reader", "head"), [(ListReader(), b'{"items":["'), (LineReader(), b'{"type":"')]
)
def test_an_object_without_end_is_refused_before_it_fills_the_memory(reader, head):
    whole = head + b"x" * LONGEST
    with pytest.raises(ValueError, match="more than"):
        list(reader.feed(whole))
