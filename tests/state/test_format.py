"""The bytes of a saved state: round trip, garbage, and what a journal does to it."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.model import Cgroup, CgroupOrigin, Child, Forker, Identity, OriginKind
from tracer.state.saved import (
    Detection,
    Ended,
    SavedState,
    SavedStorm,
    SavedZombie,
    Step,
    StormEnd,
    StormNote,
    apply,
    pack_members,
    unpack_members,
)
from tracer.state.saved_files import (
    decode,
    decode_journal,
    encode,
    encode_journal_header,
    encode_note,
)
from tracer.state.saved_rows import BadStateError

BOOT = "3b1c4d5e-0000-4000-8000-000000000001"

times = st.integers(0, 2**62)
maybe_times = st.none() | times
identities = st.builds(Identity, st.integers(1, 2**22), times)
pids = st.integers(1, 2**22)
texts = st.text(max_size=40)
children = st.builds(
    Child,
    identity=identities,
    parent_pid=st.integers(0, 2**22),
    start_boot_ns=times,
    exit_boot_ns=maybe_times,
    exit_status=st.none() | st.integers(0, 65535),
    vpid=st.none() | pids,
    pid_namespace=st.none() | st.integers(0, 2**32),
    uid=st.none() | st.integers(0, 2**32 - 1),
    comm=st.none() | texts,
    exit_parent_pid=st.none() | st.integers(0, 2**22),
    forker=st.none() | st.builds(Forker, identities, st.none() | texts),
    origin=st.none() | st.sampled_from(OriginKind),
    origin_pid=st.none() | pids,
    cgroup=st.none() | st.builds(Cgroup, texts, st.sampled_from(CgroupOrigin)),
    tracer_pid=st.none() | pids,
)
zombies = st.builds(SavedZombie, children, times, maybe_times, maybe_times)
members = st.lists(st.tuples(pids, times), max_size=20, unique=True)
storms = st.builds(
    SavedStorm, identities, times, times, times, maybe_times, members.map(pack_members)
)
states = st.builds(
    SavedState,
    st.lists(zombies, max_size=5, unique_by=lambda zombie: zombie.child.identity).map(tuple),
    st.lists(storms, max_size=3, unique_by=lambda storm: storm.parent).map(tuple),
    maybe_times,
)
notes = st.one_of(
    st.builds(Detection, zombies),
    st.builds(Step, identities, times),
    st.builds(Ended, identities),
    st.builds(StormNote, storms),
    st.builds(StormEnd, identities),
)


@given(states)
def test_a_state_comes_back_as_it_was(state):
    assert decode(encode(state, BOOT), BOOT) == state


@given(st.lists(notes, max_size=10))
def test_a_journal_comes_back_as_it_was(written):
    data = encode_journal_header(BOOT) + b"".join(encode_note(note) for note in written)
    assert decode_journal(data, BOOT) == (written, 0)


@given(states)
def test_a_state_of_another_boot_is_no_state(state):
    assert decode(encode(state, BOOT), "another") is None


@given(st.lists(notes, max_size=10), st.integers(min_value=0))
def test_a_journal_cut_anywhere_loses_only_the_line_that_was_cut(written, where):
    header = encode_journal_header(BOOT)
    lines = [encode_note(note) for note in written]
    data = header + b"".join(lines)
    cut = len(header) + where % (len(data) - len(header) + 1)
    whole = 0
    while whole < len(lines) and len(header) + sum(map(len, lines[: whole + 1])) <= cut:
        whole += 1
    assert decode_journal(data[:cut], BOOT) == (written[:whole], 0)


@given(states, st.data())
def test_a_changed_byte_is_noticed(state, data):
    good = encode(state, BOOT)
    place = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[place]))
    spoilt = good[:place] + bytes([value]) + good[place + 1 :]
    try:
        found = decode(spoilt, BOOT)
    except BadStateError:
        return
    # In the header, a byte may change the boot, the time of saving or nothing.
    assert place <= good.index(b"\n")
    assert found is None or (found.zombies, found.storms) == (state.zombies, state.storms)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(garbage):
    for read in (decode, decode_journal):
        with pytest.raises(BadStateError):
            read(garbage, BOOT)


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_garbage_between_the_lines_of_a_journal_is_counted(garbage):
    note = Ended(Identity(1, 2))
    data = encode_journal_header(BOOT)
    for piece in garbage:
        data += b"!" + piece.translate(None, b"\r\n") + b"\n" + encode_note(note)
    assert decode_journal(data, BOOT) == ([note] * len(garbage), len(garbage))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "forker", "cgroup", "members", "parent", "origin", "uid"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(["detected", "step", "gone", "storm", "storm_end"]), json_values, json_values
)
def test_json_of_the_wrong_shape_is_counted_not_believed(kind, first, second):
    import json

    line = json.dumps([kind, first, second]).encode() + b"\n"
    found, bad = decode_journal(encode_journal_header(BOOT) + line, BOOT)
    assert len(found) + bad == 1
    if kind in {"detected", "storm", "step"}:
        assert bad == 1


@given(states, st.lists(notes, max_size=12))
def test_replaying_a_journal_twice_changes_nothing(state, written):
    # As in life: what is told of a zombie comes after its detection, and its end last.
    written.sort(key=lambda note: (isinstance(note, Ended | StormEnd), isinstance(note, Step)))
    once = apply(state, written)
    again = apply(once, written)
    assert again.by_identity() == once.by_identity()
    assert _storms(again) == _storms(once)


def _storms(state):
    return {
        storm.parent: replace(storm, members=sorted(unpack_members(storm.members)))
        for storm in state.storms
    }


def test_every_fact_of_a_child_is_kept():
    """A field that is added to Child must be added to the saved rows as well."""
    facts = {
        field.name: NUMBERED.get(field.name, number)
        for number, field in enumerate(fields(Child), start=1)
    }
    state = SavedState((SavedZombie(Child(**facts), 1),))
    assert decode(encode(state, BOOT), BOOT) == state


NUMBERED = {
    "identity": Identity(1, 2),
    "comm": "a",
    "forker": Forker(Identity(3, 4), "b"),
    "origin": OriginKind.SETNS,
    "cgroup": Cgroup("/", CgroupOrigin.PARENT),
}
"""Facts that are no plain number."""


def _zombie(pid: int, detected: int | None = None, step: int | None = None) -> SavedZombie:
    return SavedZombie(Child(Identity(pid, pid * 10), 1, pid), pid, detected, step)


def test_a_journal_adds_raises_and_removes():
    state = SavedState((_zombie(1), _zombie(2, 5), _zombie(3, 5)))
    after = apply(
        state,
        [
            Detection(_zombie(1, 7)),
            Step(Identity(2, 20), 60),
            Step(Identity(2, 20), 600),
            Step(Identity(2, 20), 60),
            Ended(Identity(3, 30)),
            Detection(_zombie(4, 9)),
            Step(Identity(99, 1), 60),
        ],
    )
    assert after.zombies == (_zombie(1, 7), _zombie(2, 5, 600), _zombie(4, 9))


def test_members_of_a_storm_gather_over_notes():
    parent = Identity(7, 70)
    first = SavedStorm(parent, 1, detected=2, members=pack_members([(1, 1), (2, 2)]))
    more = SavedStorm(parent, 1, detected=3, members=pack_members([(2, 2), (3, 3)]))
    (storm,) = apply(SavedState(), [StormNote(first), StormNote(more)]).storms
    assert list(unpack_members(storm.members)) == [(1, 1), (2, 2), (3, 3)]
    assert storm.detected == 3


def test_a_million_members_stay_small():
    packed = pack_members((pid, pid * 3) for pid in range(1_000_000))
    data = encode(SavedState(storms=(SavedStorm(Identity(1, 1), 0, members=packed),)), BOOT)
    assert len(data) < 17_000_000
    state = decode(data, BOOT)
    assert state is not None
    assert state.storms[0].members == packed
