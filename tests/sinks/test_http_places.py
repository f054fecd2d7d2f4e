"""Who loses a place when all are taken."""

from hypothesis import given
from hypothesis import strategies as st

from tracer.sinks.http_places import Places


def test_an_address_with_too_many_loses_its_own_oldest():
    places = Places(100, 2)
    assert [places.take(name, name[0]) for name in ("a1", "b1", "a2", "a3", "a4")] == [
        *(None, None, None),
        "a1",
        "a2",
    ]


def test_a_full_server_drops_the_oldest_of_the_address_that_has_most():
    places = Places(4, 3)
    for name in ("a1", "b1", "b2", "c1"):
        assert places.take(name, name[0]) is None
    assert places.take("d1", "d") == "b1"
    # All have one: the oldest of all.
    assert places.take("e1", "e") == "a1"


def test_who_leaves_frees_a_place_and_may_leave_twice():
    places = Places(1, 1)
    assert places.take("a1", "a") is None
    places.leave("a1")
    places.leave("a1")
    assert places.take("b1", "b") is None


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef"))))
def test_the_bounds_hold_and_an_only_connection_loses_its_place_last(steps):
    places, held = Places(5, 2), {}
    for number, (comes, address) in enumerate(steps):
        if comes:
            counts = list(held.values())
            lost = places.take(number, address)
            if lost is not None:
                alone = counts.count(held[lost]) == 1
                assert not alone or address == held[lost] or len(set(counts)) == len(counts)
                del held[lost]
            held[number] = address
        elif held:
            places.leave(next(iter(held)))
            del held[next(iter(held))]
        assert len(held) <= 5
        assert all(list(held.values()).count(each) <= 2 for each in held.values())
