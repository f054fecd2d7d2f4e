"""The structs that cross between BPF and Python, compared through the object's own BTF."""

from importlib.resources import files
from struct import calcsize, unpack_from

import pytest
from support.btf import Btf, section
from support.kernel import require

from tracer.sources.core import wire

KEY_FIELDS = ("pid", "start_ticks", "parent_pid", "dead_since_ns")
CGROUP_KEY_FIELDS = (*KEY_FIELDS, "cgroup_id", "cgroup_hierarchy")


@pytest.fixture(scope="module")
def btf():
    path = files("tracer").joinpath("_objects/tracer.bpf.o")
    require(path.is_file(), "the BPF object is not built: make bpf")
    return Btf(section(path.read_bytes(), ".BTF"))


def fields_of(layout, names):
    """Return (name, offset, size) of each field of a Struct, by its format and these names."""
    codes = [code for code in tokens(layout.format) if code[-1] != "x"]
    assert len(codes) == len(names)
    found, offset, left = [], 0, iter(names)
    for code in tokens(layout.format):
        size = calcsize("=" + code)
        if code[-1] != "x":
            found.append((next(left), offset, size))
        offset += size
    assert offset == layout.size
    return found


def tokens(text):
    """Split a format into one code a field: `2Q16s4x` is Q, Q, 16s, 4x."""
    found, count = [], ""
    for letter in text.lstrip("="):
        if letter.isdigit():
            count += letter
            continue
        found += [count + letter] if letter in "sx" else [letter] * int(count or 1)
        count = ""
    return found


def members_of(btf, name):
    """Return (name, offset, size) of each field of a struct, nested ones included, but padding."""
    return [member for member in btf.flattened(name).members if member[0] != "pad"]


@pytest.mark.parametrize(
    ("name", "layout", "mirror"),
    [
        ("zombie", wire.ZOMBIE, wire.ZombieWire),
        ("process", wire.PROCESS, wire.ProcessWire),
        ("counters", wire.COUNTERS, wire.CountersWire),
    ],
)
def test_a_struct_is_mirrored(btf, name, layout, mirror):
    assert btf.struct(name).size == layout.size
    renamed = {"exit_parent_host_pid": "pid", "exit_parent_start": "start"}
    fields = [renamed.get(field, field) for field in mirror._fields]
    assert members_of(btf, name) == fields_of(layout, fields)


def test_a_record_is_its_header_and_then_what_its_type_says(btf):
    assert members_of(btf, "record_header") == fields_of(wire.HEADER, ["type"])
    behind = wire.HEADER.size
    zombie = btf.struct("zombie_record")
    assert [member[:2] for member in zombie.members] == [("header", 0), ("zombie", behind)]
    assert zombie.size == behind + wire.ZOMBIE.size
    gone = [(name, at - behind, size) for name, at, size in members_of(btf, "gone_record")]
    assert gone[1:] == fields_of(wire.GONE, wire.GoneWire._fields)
    assert btf.struct("gone_record").size == behind + wire.GONE.size
    types = btf.enum("record_type")
    assert types == {
        "RECORD_ZOMBIE": wire.RECORD_ZOMBIE,
        "RECORD_GONE": wire.RECORD_GONE,
        "RECORD_YOUNG": wire.RECORD_YOUNG,
    }


def test_the_key_of_a_process_is_mirrored(btf):
    assert members_of(btf, "process_key") == fields_of(wire.PROCESS_KEY, ["pid", "start"])
    assert btf.struct("process_key").size == wire.PROCESS_KEY.size


def test_padding_is_explicit(btf):
    """Bytes that no member names would carry the kernel's stack to user space."""
    shared = "zombie_record gone_record process counters death process_key cgroup_key cgroup_names"
    for name in shared.split():
        struct, end = btf.flattened(name), 0
        for member, offset, size in struct.members:
            assert offset == end, f"{name} has a hole before {member}"
            end = offset + size
        assert end == struct.size, f"{name} has a hole at its end"


@pytest.mark.parametrize(
    ("layout", "fields"),
    [(wire.ZOMBIE_KEYS, KEY_FIELDS), (wire.ZOMBIE_CGROUP_KEYS, CGROUP_KEY_FIELDS)],
)
def test_the_key_is_read_where_the_fields_are(btf, layout, fields):
    where = {member: (offset, size) for member, offset, size in members_of(btf, "zombie")}
    assert layout.size == btf.struct("zombie").size
    for name, offset, size in fields_of(layout, fields):
        assert where[name] == (offset, size)


def test_cgroup_structs(btf):
    assert members_of(btf, "cgroup_key") == fields_of(wire.CGROUP_KEY, ("id", "hierarchy"))
    names = btf.struct("cgroup_names")
    assert names.size == wire.CGROUP_NAMES.size
    [level, paths] = members_of(btf, "cgroup_names")
    assert level == ("level", 0, 4)
    assert paths == ("names", 8, wire.CGROUP_LEVELS * wire.CGROUP_NAME_LEN)
    first = fields_of(wire.CGROUP_NAMES, ["level", *range(wire.CGROUP_LEVELS)])[1]
    assert first == (0, 8, wire.CGROUP_NAME_LEN)


def test_constants(btf):
    """The origins that Python compares with, and the variables in the order of their section."""
    origins = btf.enum("origin_kind")
    assert (origins["ORIGIN_INIT"], origins["ORIGIN_SETNS"]) == (
        wire.ORIGIN_INIT,
        wire.ORIGIN_SETNS,
    )
    comm = next(size for name, _, size in members_of(btf, "zombie") if name == "comm")
    assert comm == wire.COMM_LEN
    assert btf.variables(".rodata") == [
        "settle_ns",
        "recheck_ns",
        "tick_ns",
    ]
    assert wire.CONSTANTS.size == 24
    assert btf.variables(".data.settings") == ["min_age_ns"]
    assert wire.SETTINGS.size == 8


def test_the_reader_of_btf_reads_the_kernel_s_own():
    """What the tests above trust: task_struct as this very kernel describes it."""
    path = "/sys/kernel/btf/vmlinux"
    try:
        with open(path, "rb") as file:
            kernel = Btf(file.read())
    except OSError as error:
        require(False, f"{path}: {error}")
    members = {name: (offset, size) for name, offset, size in kernel.struct("list_head").members}
    pointer = calcsize("P")
    assert members == {"next": (0, pointer), "prev": (pointer, pointer)}
    assert kernel.struct("task_struct").size > 1000
    assert unpack_from("<H", b"\x9f\xeb")[0] == 0xEB9F
