"""From cgroup paths to containers: the table of real paths, and properties of all paths."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import cgroup_table
from support.cgroup_table import HASH, ID, ROWS, UID

from tracer.attribution import cgroup
from tracer.attribution.pod_roots import roots_below
from tracer.model import Container

DOCUMENT = Path(__file__).parents[2] / "docs" / "attribution.md"


def expected(row) -> Container | None:
    if not row.has_id and row.pod is None:
        return None
    return Container(
        ID if row.has_id else None,
        row.named_runtime,
        UID if row.pod == "uid" else None,
        HASH if row.pod == "hash" else None,
    )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.form}: {row.runtime}")
def test_real_paths(row):
    assert cgroup.parse(row.real_path, row.roots) == expected(row)


def test_document_shows_the_table_that_is_tested():
    assert cgroup_table.render() in DOCUMENT.read_text(), (
        "docs/attribution.md differs from tests/support/cgroup_table.py: run python tests/support/cgroup_table.py"
    )


segment = st.text(
    st.characters(blacklist_characters="/\n\x00", blacklist_categories=("Cs",)), min_size=1
).filter(lambda text: text not in {".", ".."})
lookalike = st.sampled_from(
    [
        "kubepods",
        "kubepods.slice",
        "burstable",
        "pod11111111-2222-3333-4444-555555555555",
        "kubepods-pod11111111_2222_3333_4444_555555555555.slice",
        "kubepods-pod11111111_2222_3333_4444_555555555555.slice:cri-containerd:" + "9" * 64,
        "cri-containerd-" + "9" * 64 + ".scope",
        "docker-" + "9" * 64 + ".scope",
        "9" * 64,
        "system.slice",
        "cron.service",
        " (deleted)",
    ]
)
tenant_made = st.lists(st.one_of(lookalike, segment), max_size=6)
in_a_pods_container = st.sampled_from([row for row in ROWS if row.pod and row.has_id])


@given(in_a_pods_container, tenant_made)
def test_what_a_tenant_makes_below_its_container_changes_nothing(row, names):
    base = row.real_path.removesuffix(" (deleted)")
    assert cgroup.parse("/".join([base, *names]), row.roots) == expected(row)


plain = st.sampled_from([row for row in ROWS if row.pod is None and row.has_id])


@given(plain, tenant_made)
def test_the_outermost_container_is_the_same_whatever_is_nested_in_it(row, names):
    assert cgroup.parse("/".join([row.real_path, *names])) == expected(row)


@given(st.text())
def test_any_text_is_read_without_an_error(text):
    found = cgroup.parse(text)
    assert found is None or found.id is None or len(found.id) == 64
    cgroup.parse(text, roots_below(cgroup.segments(text)))
    cgroup.systemd_unit(text)


@given(st.lists(segment, max_size=5), st.integers(0, 6))
def test_the_way_out_of_a_namespace_is_not_part_of_the_path(names, ups):
    tail = "/".join(names)
    assert cgroup.segments("/" + "../" * ups + tail) == cgroup.segments("/" + tail)


def test_a_pod_like_folder_elsewhere_is_no_pod():
    assert cgroup.parse(f"/srv/pod{UID}/data") is None
    assert cgroup.parse("/../podman/data") is None


def test_pod_of_a_kubelet_in_a_container_is_that_container_seen_from_outside():
    outer = "f" * 64
    path = f"/docker/{outer}/kubepods/pod{UID}/{ID}"
    assert cgroup.parse(path) == Container(outer, "docker")
    assert cgroup.parse(path, roots_below(("docker", outer))) == Container(ID, None, UID)
    assert cgroup.parse(f"/kubepods/pod{UID}/{ID}") == Container(ID, None, UID)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/cron.service", "cron.service"),
        ("/system.slice/cron.service (deleted)", "cron.service"),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "user@1000.service"),
        ("/../../../../init.scope", "init.scope"),
        ("/system.slice/_cpu.service", "cpu.service"),
        ("/system.slice", None),
        ("/foo/bar.service", None),
        ("/", None),
    ],
)
def test_systemd_units(path, unit):
    assert cgroup.systemd_unit(path) == unit


def proc(*lines: str) -> cgroup.ProcCgroups | None:
    return cgroup.parse_proc("\n".join([*lines, ""]).encode())


POD = f"/kubepods/burstable/pod{UID}/{ID}"


def test_pure_v2_has_one_line():
    assert proc(f"0::{POD}") == cgroup.ProcCgroups(POD, unified=True, controllers=False)


def test_hybrid_zombie_keeps_only_the_unified_line():
    assert proc("12:pids:/", "1:name=systemd:/", f"0::{POD}") == (POD, True, True)


def test_living_process_on_pure_v1_is_found_although_one_controller_says_nothing():
    assert proc("12:misc:/", f"3:pids:{POD}", f"1:name=systemd:{POD}") == (POD, False, True)


def test_pure_v1_zombie_says_nothing():
    assert proc("12:pids:/", "1:name=systemd:/") == ("/", False, True)


def test_container_in_v1_counts_more_than_the_runtimes_service_in_v2():
    found = proc(f"3:pids:{POD}", "0::/system.slice/containerd.service")
    assert found == (POD, False, True)


def test_controller_names_and_paths_may_contain_colons():
    colon = f"/system.slice/kubepods-pod{UID.replace('-', '_')}.slice:cri-containerd:{ID}"
    assert proc(f"4:cpu,cpuacct:{colon}") == (colon, False, True)


@given(st.binary())
def test_any_bytes_are_read_without_an_error(text):
    found = cgroup.parse_proc(text)
    assert found is None or found.path.startswith("/")


if __name__ == "__main__":
    begin, end = "<!-- table: begin -->\n", "<!-- table: end -->"
    head, _, rest = DOCUMENT.read_text().partition(begin)
    DOCUMENT.write_text(head + begin + cgroup_table.render() + end + rest.partition(end)[2])
