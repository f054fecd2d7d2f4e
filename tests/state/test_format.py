"""The lines of a state file: round trip, damage, bounds, and what they add up to."""

import json
import zlib
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.clock import NS, TICK_NS
from tracer.model import (
    Cause,
    CauseCode,
    Cgroup,
    CgroupOrigin,
    Child,
    Confidence,
    Forker,
    Identity,
    OriginKind,
)
from tracer.model.event import EventName
from tracer.state import format as state_format
from tracer.state.codec import PID_LIMIT, BadStateError
from tracer.state.format import (
    EMPTY_BLOCK,
    Block,
    Change,
    LogLine,
    SavedState,
    SavedStorm,
    SavedZombie,
    decode_change,
    encode_change,
    header,
    is_header,
)
from tracer.table.pidset import BLOCK_BYTES, BLOCK_PIDS, PidSet

BOOT = "3b1c4d5e-0000-4000-8000-000000000001"
NOW = 10**6 * NS

times = st.integers(0, NOW)
maybe_times = st.none() | times
pids = st.integers(1, PID_LIMIT - 1)
identities = st.builds(Identity, pids, st.integers(0, NOW // TICK_NS))
texts = st.text(max_size=40)
cgroups = st.none() | st.builds(Cgroup, texts, st.sampled_from(CgroupOrigin))
children = st.builds(
    Child,
    identity=identities,
    parent_pid=st.integers(0, PID_LIMIT - 1),
    start_boot_ns=times,
    exit_boot_ns=maybe_times,
    last_ran_boot_ns=maybe_times,
    exit_status=st.none() | st.integers(0, 65535),
    vpid=st.none() | pids,
    pid_namespace=st.none() | st.integers(0, 2**32),
    uid=st.none() | st.integers(0, 2**32 - 1),
    comm=st.none() | texts,
    exit_parent_pid=st.none() | pids,
    forker=st.none() | st.builds(Forker, identities, st.none() | texts),
    origin=st.none() | st.sampled_from(OriginKind),
    origin_pid=st.none() | pids,
    cgroup=cgroups,
    tracer_pid=st.none() | pids,
)
steps = st.none() | st.integers(1, 2**62)
log_lines = st.builds(LogLine, st.sampled_from(EventName), times, steps)
zombies = st.builds(
    SavedZombie, children, times, maybe_times, steps, maybe_times, st.none() | log_lines
)
causes = st.builds(
    Cause,
    st.sampled_from(CauseCode),
    st.sampled_from(Confidence),
    st.lists(texts, max_size=3).map(tuple),
    texts,
)
counts = st.integers(0, 2**40)
storms = st.builds(
    SavedStorm,
    number=st.integers(0, 5),
    parent=identities,
    comm=st.none() | texts,
    began_boot_ns=times,
    detected=counts,
    reaped=counts,
    oldest_boot_ns=maybe_times,
    cgroup=cgroups,
    cause=st.none() | causes,
)
blocks = st.builds(
    Block,
    st.integers(0, PID_LIMIT // BLOCK_PIDS - 1),
    st.binary(max_size=30).map(lambda some: some + bytes(BLOCK_BYTES - len(some))),
)
notes = st.builds(
    Change,
    zombie=st.none() | zombies,
    gone=st.none() | identities,
    storms=st.none()
    | st.lists(storms, max_size=3, unique_by=lambda storm: storm.number).map(tuple),
    over=st.none() | st.lists(st.integers(0, 5), max_size=2).map(tuple),
    blocks=st.none()
    | st.lists(blocks, max_size=3, unique_by=lambda block: block.number).map(tuple),
    line=st.none() | log_lines,
)


def added_up(lines):
    state = SavedState()
    for note in lines:
        assert state.take(note)
    return state


@given(notes)
def test_a_note_comes_back_as_it_was(note):
    assert decode_change(encode_change(note), NOW) == note


@given(st.lists(notes, max_size=8))
def test_a_file_written_anew_says_the_same(written):
    state = added_up(written)
    assert added_up(decode_change(encode_change(note), NOW) for note in state.changes()) == state


def test_a_file_of_another_boot_is_not_ours():
    assert is_header(header(BOOT), BOOT)
    assert not is_header(header(BOOT), "another")


@given(notes, st.data())
def test_a_changed_byte_is_noticed(note, data):
    good = encode_change(note)
    place = data.draw(st.integers(0, len(good) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[place]))
    with pytest.raises(BadStateError):
        decode_change(good[:place] + bytes([value]) + good[place + 1 :], NOW)


@given(notes, st.data())
def test_half_a_line_is_noticed(note, data):
    good = encode_change(note)
    with pytest.raises(BadStateError):
        decode_change(good[: data.draw(st.integers(0, len(good) - 1))], NOW)


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_crashes(garbage):
    with pytest.raises(BadStateError):
        decode_change(garbage, NOW)
    with pytest.raises(BadStateError):
        is_header(garbage, BOOT)


def line(value):
    body = json.dumps(value).encode()
    return b"[%d,%s]\n" % (zlib.crc32(body), body)


def test_another_version_is_refused_with_its_number():
    with pytest.raises(BadStateError, match="version 99"):
        is_header(line([state_format.FORMAT, 99, BOOT]), BOOT)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["child", "identity", "forker", "cgroup", "number", "parent", "uid"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.sampled_from(["zombie", "gone", "storms", "blocks", "other"]), json_values)
def test_json_of_the_wrong_shape_is_refused_not_believed(kind, value):
    try:
        note = decode_change(line({kind: value}), NOW)
    except BadStateError:
        return
    assert decode_change(encode_change(note), NOW) == note


CHILD = Child(Identity(1, 2), 1, 3)
STORM = SavedStorm(0, Identity(7, 70), "sh", 1, 2, 0)


@pytest.mark.parametrize(
    "record",
    [
        SavedZombie(replace(CHILD, identity=Identity(PID_LIMIT, 2)), 1),
        SavedZombie(replace(CHILD, identity=Identity(1, NOW // TICK_NS + 1)), 1),
        SavedZombie(replace(CHILD, parent_pid=PID_LIMIT), 1),
        SavedZombie(replace(CHILD, vpid=-1), 1),
        SavedZombie(replace(CHILD, exit_boot_ns=NOW + 1), 1),
        SavedZombie(CHILD, NOW + 1),
        SavedZombie(CHILD, 1, NOW + 1),
        SavedZombie(CHILD, 1, 1, 2**63),
        replace(STORM, parent=Identity(PID_LIMIT, 1)),
        replace(STORM, began_boot_ns=NOW + 1),
    ],
)
def test_a_pid_or_a_time_that_cannot_be_is_refused(record):
    change = Change(storms=(record,)) if isinstance(record, SavedStorm) else Change(zombie=record)
    with pytest.raises(BadStateError):
        decode_change(encode_change(change), NOW)


def test_blocks_beyond_the_last_pid_or_of_another_size_are_refused():
    for block in (Block(PID_LIMIT // BLOCK_PIDS, EMPTY_BLOCK), Block(0, b"x"), Block(0, b"")):
        assert not SavedState().take(Change(blocks=(block,)))
    huge = line({"blocks": [[0, json.loads(encode_bytes(bytes(50 << 20)))]]})
    assert not SavedState().take(decode_change(huge, NOW))


def encode_bytes(value):
    from tracer.state.codec import encode

    return encode(value)


def all_of(members):
    blocks = map(Block._make, enumerate(members.blocks()))
    return Change(storms=(STORM,), blocks=tuple(blocks))


def test_members_with_an_unknown_storm_or_from_the_future_are_left_out():
    members = PidSet()
    members.add(5, 50, 0)
    members.add(6, 60, 1)
    members.add(7, NOW // TICK_NS + 1, 0)
    state = added_up([all_of(members)])
    assert {number: list(each) for number, each in state.members(NOW).items()} == {0: [5, 50]}


def test_no_more_zombies_are_kept_than_the_bound(monkeypatch):
    monkeypatch.setattr(state_format, "MAX_ZOMBIES", 2)
    state = added_up(map(Change, [_zombie(1), _zombie(2), _zombie(2, 7)]))
    assert not state.take(Change(_zombie(3)))
    assert list(state.zombies.values()) == [_zombie(1), _zombie(2, 7)]


@given(st.lists(notes, max_size=12))
def test_lines_that_are_applied_twice_change_nothing(written):
    twice, once = added_up(written + written), added_up(written)
    assert (twice.zombies, twice.storms, twice.blocks) == (once.zombies, once.storms, once.blocks)


def test_every_fact_of_a_child_is_kept():
    """A field of a type that the codec does not know shows here."""
    facts = {
        field.name: NUMBERED.get(field.name, number)
        for number, field in enumerate(fields(Child), start=1)
    }
    note = Change(SavedZombie(Child(**facts), 1))
    assert decode_change(encode_change(note), NOW) == note


NUMBERED = {
    "identity": Identity(1, 2),
    "comm": "a",
    "forker": Forker(Identity(3, 4), "b"),
    "origin": OriginKind.SETNS,
    "cgroup": Cgroup("/", CgroupOrigin.PARENT),
}
"""Facts that are not a plain number."""


def test_an_upgrade_keeps_what_both_versions_know():
    """A field that was added since is None, one that was removed is ignored."""
    row = {"child": {"identity": [1, 2], "parent_pid": 1, "start_boot_ns": 3, "mood": "good"}}
    note = decode_change(line({"zombie": {**row, "first_seen_boot_ns": 4, "more": [1]}}), NOW)
    assert note == Change(SavedZombie(CHILD, 4))


def _zombie(pid: int, detected: int | None = None, step: int | None = None) -> SavedZombie:
    return SavedZombie(Child(Identity(pid, pid * 10), 1, pid), pid, detected, step)


def test_the_last_line_about_a_zombie_counts():
    zombies = [_zombie(1), _zombie(2, 5), _zombie(3, 5), _zombie(1, 7), _zombie(2, 5, 600)]
    ends = [Change(gone=Identity(3, 30)), Change(gone=Identity(99, 1))]
    state = added_up([*map(Change, zombies), *ends, Change(_zombie(4, 9))])
    assert list(state.zombies.values()) == [_zombie(1, 7), _zombie(2, 5, 600), _zombie(4, 9)]


def test_the_last_line_of_storms_counts_and_blocks_gather():
    members = PidSet()
    members.add(1, 1, 0)
    members.add(BLOCK_PIDS, 2, 0)
    first, second = map(Block._make, enumerate(members.blocks()))
    state = added_up(
        [
            Change(storms=(STORM,), blocks=(first,)),
            Change(storms=(replace(STORM, detected=3),), blocks=(second,)),
        ]
    )
    assert list(state.members(NOW)[0]) == [1, 1, BLOCK_PIDS, 2]
    assert state.storms[0].detected == 3
    state.take(Change(over=(0,), blocks=(Block(0, EMPTY_BLOCK), Block(1, EMPTY_BLOCK))))
    assert state == SavedState()


def test_a_million_members_stay_small():
    members = PidSet()
    for pid in range(1, 1_000_001):
        members.add(pid, pid * 3, 0)
    state = added_up([all_of(members)])
    data = b"".join(map(encode_change, state.changes()))
    assert len(data) < 4_000_000
    assert decode_change(data, NOW) == all_of(members)
    assert len(state.members(NOW)[0]) == 2_000_000
