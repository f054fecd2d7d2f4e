"""The text of `tracer explain`: what it says of each kind of process, and that names in it are escaped."""

from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import records as made
from support.golden import check_golden

from tracer.clock import NS
from tracer.model import BlockedWait, Forker, WaitFor, Waits
from tracer.render.explanation import Explanation, Kind
from tracer.render.explanation_json import explanation_document
from tracer.render.explanation_text import render_explanation
from tracer.render.text import escape_untrusted


class View(NamedTuple):
    waits: Waits | None = None
    blocked: tuple[BlockedWait, ...] = ()


PARENT = made.process()
CONTAINER_INIT = made.process(1000, comm="tini", vpid=1, parent_pid=1)
WATCHED = Waits(2, 5, made.NOW - 3 * NS, None, 7, 2, 0, 0, made.NOW - 60 * NS)


def explanation(kind=Kind.ZOMBIE, **changes):
    family = tuple(
        made.child(1_296_039 + index, exit_boot_ns=made.NOW - (index + 1) * 10 * NS)
        for index in range(6)
    )
    basis = Explanation(
        kind=kind,
        pid=family[0].identity.pid if kind in {Kind.ZOMBIE, Kind.REAPED} else PARENT.identity.pid,
        now_boot_ns=made.NOW,
        watched_ns=2 * NS,
        source="core",
        subject=PARENT,
        view=View(WATCHED),
        ancestors=(CONTAINER_INIT, replace(PARENT, vpid=7)),
        records=(made.record(family[0]),),
        family=[child.dead_since_boot_ns or 0 for child in family],
        attribution=made.POD,
        steps=("Fix bash: wait for its children.", "Or run it below tini."),
    )
    return replace(basis, **changes)


@pytest.mark.parametrize("kind", [Kind.ZOMBIE, Kind.PARENT])
def test_the_tree_shows_the_child_that_the_parent_waits_for(kind):
    wanted = made.process(4711, comm="sleep\x1b", vpid=9, parent_pid=PARENT.identity.pid)
    tree = text(explanation(kind, waited_for=wanted)).partition("Tree")[2].partition("\n\n")[0]
    assert (
        "└─ 4711 (sleep\\x1b)  PID 9 in its PID namespace, sleeping, its parent waits for" in tree
    )
    dead = explanation(kind).records[0].zombie.child
    asked = made.process(dead.identity.pid, state="Z", parent_pid=PARENT.identity.pid)
    marked = text(explanation(kind, waited_for=replace(asked, identity=dead.identity)))
    assert "<defunct>, its parent waits for this child" in marked
    assert marked.count(str(dead.identity.pid)) == text(explanation(kind)).count(
        str(dead.identity.pid)
    )


def text(of, **options):
    return render_explanation(of, to_wall_ns=made.TO_WALL_NS, **options)


def test_golden():
    slow = replace(made.NEVER, evidence=("it was late before",))
    unseen = made.record(
        made.child(exit_boot_ns=None, exit_status=None, last_ran_boot_ns=None, forker=None),
        attribution=made.HOST,
        cause=None,
    )
    blocked = (BlockedWait(WaitFor.PROCESS, 12, 0), BlockedWait(WaitFor.GROUP, None, 0))
    shown = {
        "a zombie": explanation(),
        "a zombie with unknown exit, without BPF": explanation(
            records=(unseen,), family=(), view=View(None, blocked), attribution=made.HOST
        ),
        "reaped meanwhile": explanation(Kind.REAPED, family=()),
        "a parent": explanation(
            Kind.PARENT,
            records=(made.record(), made.record(cause=slow)),
            forker=Forker(made.identity(1000), "tini"),
            living_children=1,
        ),
        "a healthy process": explanation(
            Kind.PARENT, records=(), family=(), steps=(), living_children=0
        ),
        "a dead leader": explanation(Kind.DEAD_LEADER, records=(), family=(), steps=()),
    }
    check_golden("explain.txt", "\n".join(f"# {title}\n{text(of)}" for title, of in shown.items()))


@given(st.text(st.characters(codec=None), max_size=40), st.integers(40, 120))
def test_names_of_tenants_are_escaped(name, columns):
    evil = made.process(comm=name, path=name)
    of = explanation(
        subject=evil,
        ancestors=(evil,),
        records=(made.record(made.child(comm=name), parent=evil),),
        steps=(name,),
    )
    for line in text(of, columns=columns).splitlines():
        assert escape_untrusted(line) == line


@pytest.mark.parametrize("kind", list(Kind))
def test_json_has_the_same_facts_for_every_kind(kind):
    document = explanation_document(
        explanation(kind), node_name=made.NODE, to_wall_ns=made.TO_WALL_NS
    )
    assert document["kind"] == kind.value
    assert (document["process"] is None) == (kind in {Kind.ZOMBIE, Kind.REAPED})
    assert document["zombies"][0]["cause"]["code"] == "parent_never_waits"
    assert document["zombies_of_parent"] == 6
