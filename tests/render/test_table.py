"""The tables of `tracer scan`: aligned, fitting, and saying what the JSON says."""

import signal
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from support import records as made
from support.golden import check_golden

from tracer.model import Attribution, CauseCode, Confidence
from tracer.render.document import zombie_document
from tracer.render.groups import Group, group_by_pod, merge
from tracer.render.table import BY_PARENT, BY_POD, BY_ZOMBIE, bytes_text, render_table
from tracer.render.text import escape_untrusted, width


def group_by_parent(records):
    return merge(map(Group, records), lambda group: group.record.zombie.child.parent_pid)


def records():
    """Three zombies of a pod's bash, one of cron with an unknown age, one without a parent."""
    slow = replace(made.NEVER, code=CauseCode.SLOW_REAPER)
    cron = made.process(4000, comm="cron", vpid=4000)
    return [
        *(made.record(made.child(pid)) for pid in (101, 102)),
        made.record(made.child(103, exit_status=signal.SIGKILL), cause=slow, age_ns=9_000_000_000),
        made.record(made.child(4242, 4000, exit_boot_ns=None), parent=cron, attribution=made.HOST),
        made.record(made.child(77, 1, exit_boot_ns=None, exit_status=None, comm="a\nb"), age_ns=0,
                    parent=None, attribution=Attribution(), cause=None),
    ]  # fmt: skip


def render(groups, layout, **options):
    return render_table(groups, layout, to_wall_ns=made.TO_WALL_NS, **options)


def test_golden():
    parents = group_by_parent(records())
    singles = [Group(record) for record in records()]
    parts = {
        "by parent": render(parents, BY_PARENT),
        "by parent, 80 columns": render(parents, BY_PARENT, columns=80),
        "by zombie": render(singles, BY_ZOMBIE),
        "by zombie, wide": render(singles, BY_ZOMBIE, wide=True),
        "by pod": render(group_by_pod(parents), BY_POD, columns=120),
        "nothing": render([], BY_POD),
    }
    check_golden("scan.txt", "\n".join(f"# {name}\n{text}" for name, text in parts.items()))


def test_groups_count_zombies_parents_and_causes():
    parents = group_by_parent(records())
    assert [(g.zombies, g.causes) for g in parents] == [
        (3, ("parent_never_waits", "slow_reaper")),
        (1, ("parent_never_waits",)),
        (1, ()),
    ]
    another = made.record(made.child(9, 8), parent=made.process(8))
    [pod, *_] = group_by_pod(group_by_parent([*records(), another]))
    assert (pod.zombies, pod.parents) == (4, 2)


def test_a_cause_that_is_only_possible_is_told_with_doubt():
    """And without it as soon as one zombie of the group is surer."""
    sure = made.record()
    doubtful = replace(sure, cause=replace(sure.cause, confidence=Confidence.POSSIBLE))
    [group] = group_by_parent([doubtful])
    assert "parent_never_waits?" in render([group], BY_PARENT)
    [group] = group_by_parent([doubtful, doubtful, sure])
    assert group.causes == ("parent_never_waits",)


def test_counts_from_elsewhere_are_kept():
    """A scan of 300,000 zombies counts them in the snapshot and makes one record a parent."""
    [group] = group_by_pod([Group(made.record(), zombies=300_000)])
    assert "300000" in render([group], BY_POD)


def test_the_table_says_what_the_json_says():
    record = records()[0]
    document = zombie_document(record, node_name="n", to_wall_ns=made.TO_WALL_NS)
    row = render([Group(record)], BY_ZOMBIE, wide=True).splitlines()[1]
    for shown in (
        document["process"]["pid"],
        document["process"]["exit"]["time"],
        document["process"]["creation"]["time"],
        document["process"]["linux"]["cgroup"],
        document["parent"]["executable"]["name"],
        document["container"]["image"]["name"],
        document["cause"]["code"],
    ):
        assert str(shown) in row


@given(st.text(st.characters(codec=None), max_size=60), st.integers(100, 200))
def test_any_name_fits_and_is_escaped(name, columns):
    workload = replace(made.POD.workload, pod=name or "p")
    record = made.record(made.child(comm=name), attribution=replace(made.POD, workload=workload))
    for layout in (BY_PARENT, BY_ZOMBIE, BY_POD):
        lines = render([Group(record)], layout, columns=columns).split("\n")
        assert len(lines) == 3
        for line in lines:
            assert escape_untrusted(line) == line
            assert width(line) <= columns


def test_sizes():
    assert [bytes_text(n) for n in (0, 10_547, 105_470, 3_164_100_000)] == [
        "0B", "10KiB", "103KiB", "2.9GiB",
    ]  # fmt: skip
