"""The queue before a slow reader: owners take turns, and the longest one pays for a full queue."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tracer.sinks.fair_queue import IN_ORDER, FairQueue, Place


def queue(limit=10_000, **options):
    """Give a queue of (owner, number) pairs."""
    return FairQueue(limit, owner=lambda item: item[0], **options)


def everything(waiting):
    items = []
    while (item := waiting.take()) is not None:
        items.append(item)
    return items


def test_a_short_queue_keeps_the_order_of_time():
    waiting = queue()
    items = [(owner, number) for number in range(10) for owner in ("a", Place.FIRST, "b", "a")]
    for item in items:
        assert waiting.put(item) == []
    assert everything(waiting) == items


def test_behind_a_slow_reader_owners_take_turns_and_the_agents_own_lines_come_first():
    waiting = queue()
    for number in range(1000):
        waiting.put(("noisy", number))
    for owner in ("quiet", Place.LAST, Place.FIRST, "other"):
        waiting.put((owner, 0))
    taken = everything(waiting)
    assert taken[0][0] is Place.FIRST
    assert {owner for owner, _ in taken[1:5]} == {"noisy", "quiet", "other"}
    assert taken[-1] == (Place.LAST, 0)
    assert [number for owner, number in taken if owner == "noisy"] == list(range(1000))


def test_a_full_queue_drops_the_newest_of_the_owner_with_the_most():
    waiting = queue(limit=100)
    for number in range(20):
        assert waiting.put(("quiet", number)) == []
    dropped = []
    for number in range(1000):
        dropped += waiting.put(("noisy", number))
        waiting.put((Place.LAST, number)) if number == 500 else None
    for number in range(20, 30):
        dropped += waiting.put(("quiet", number))
    assert {owner for owner, _ in dropped} == {"noisy"}
    counts = Counter(owner for owner, _ in everything(waiting))
    assert counts == {"quiet": 30, "noisy": 69, Place.LAST: 1}


def test_the_limit_is_of_sizes_and_not_of_items():
    waiting = queue(limit=10_000, size=lambda item: item[1])
    assert waiting.put(("large", 9_000)) == []
    assert [waiting.put(("small", 100)) for _ in range(10)] == [[]] * 10
    assert waiting.put(("small", 100)) == [("large", 9_000)]
    assert len(waiting) == 11


def test_the_last_line_is_never_dropped():
    waiting = queue(limit=0)
    assert waiting.put(("a", 0)) == [("a", 0)]
    assert waiting.put((Place.LAST, 0)) == []
    assert everything(waiting) == [(Place.LAST, 0)]


OWNERS = st.sampled_from(["a", "b", "c", Place.FIRST, Place.LAST])


@given(st.lists(st.tuples(OWNERS, st.integers(1, 50))), st.integers(0, 500), st.integers(0, 5))
def test_nothing_is_lost_or_reordered_within_an_owner(puts, limit, takes):
    waiting = FairQueue(limit, owner=lambda item: item[0], size=lambda item: item[2])
    dropped, taken = [], []
    for number, (owner, size) in enumerate(puts):
        dropped += waiting.put((owner, number, size))
        if takes and number % takes == 0 and (item := waiting.take()):
            taken.append(item)
    rest = everything(waiting)
    assert len(waiting) == 0
    assert sorted(map(str, dropped + taken + rest)) == sorted(
        str((owner, number, size)) for number, (owner, size) in enumerate(puts)
    )
    for owner in {owner for owner, _ in puts}:
        numbers = [item[1] for item in taken + rest if item[0] == owner]
        assert numbers == sorted(numbers)


def test_more_than_a_few_waiting_items_end_the_order_of_time():
    waiting = queue()
    for number in range(IN_ORDER + 1):
        waiting.put(("a", number))
    waiting.put(("b", 0))
    assert ("b", 0) in [waiting.take(), waiting.take()]


def test_clearing_returns_all():
    waiting = queue()
    for owner in ("a", "b", Place.FIRST):
        waiting.put((owner, 0))
    assert len(waiting.clear()) == 3
    assert waiting.take() is None
