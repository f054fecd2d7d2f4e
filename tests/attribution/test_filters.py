"""Filters by pod identity and kubectl's label selectors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracer.attribution.filters import Filters
from tracer.attribution.selector import parse_selector
from tracer.errors import UsageError
from tracer.model import Attribution, Container, Workload, WorkloadSource

LABELS = {"app": "web", "tier": "front", "empty": "", "size": "7", "example.com/team": "a-1"}


def pod(**changes):
    given_ = {
        "namespace": "shop",
        "pod": "web-1",
        "pod_uid": "u",
        "container": "app",
        "labels": tuple(LABELS.items()),
    }
    return Attribution(container=Container("a" * 64), workload=Workload(**given_ | changes))


HOST = Attribution(unit="cron.service")
UNKNOWN_POD = Attribution(container=Container("a" * 64, pod_uid="u"))
STATIC_POD = Attribution(container=Container(None, config_hash="f" * 32))
PLAIN_CONTAINER = Attribution(container=Container("a" * 64, "docker"))


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("  ", True),
        ("app=web", True),
        ("app==web", True),
        ("app = web", True),
        ("app=api", False),
        ("app!=web", False),
        ("app!=api", True),
        ("missing!=x", True),
        ("app in (api, web)", True),
        ("app in(api,web)", True),
        ("app in (api)", False),
        ("missing in (api)", False),
        ("app notin (api,web)", False),
        ("app notin (api)", True),
        ("missing notin (api)", True),
        ("app", True),
        ("missing", False),
        ("!missing", True),
        ("! missing", True),
        ("!app", False),
        ("empty=", True),
        ("app=", False),
        ("empty in (,x)", True),
        ("size>6", True),
        ("size > 7", False),
        ("size<8", True),
        ("app>1", False),
        ("example.com/team=a-1", True),
        ("in in (web)", False),
        ("app=web,tier=front", True),
        ("app=web,tier=back", False),
        ("app,!missing,tier in (front,back),size>1", True),
    ],
)
def test_selectors_as_kubectl_reads_them(text, matches):
    assert Filters(selector=parse_selector(text)).matches(pod()) is matches


@pytest.mark.parametrize(
    "text",
    [
        ",", "a,", ",a", "a,,b", "a=b c", "a b", "=b", "!", "!=b", "a in b", "a in (b", "a in b)", "a in",
        "a=b=c", "a>x", "a>", "-a=b", "a=-b", "a/b/c=d", "/a=b", "A_/a=b", "a(b)", "a=b)", "a" * 64,
        "a=" + "b" * 64, "a===b", "a!b", "!a=b", "ä=b",
    ],
)  # fmt: skip
def test_wrong_selectors_say_what_is_right(text):
    with pytest.raises(UsageError, match="write it as for kubectl -l") as caught:
        parse_selector(text)
    assert repr(text) in str(caught.value)


@given(st.text(alphabet="ab=!,() in>1-./"))
def test_any_text_is_a_selector_or_a_usage_error(text):
    try:
        requirements = parse_selector(text)
    except UsageError:
        return
    Filters(selector=requirements).matches(pod())


names = st.from_regex(r"[a-z]([a-z0-9.-]{0,5}[a-z0-9])?", fullmatch=True)


@given(names, st.lists(names, min_size=1, max_size=3), names)
def test_notin_is_the_opposite_of_in(key, values, value):
    listed = f"{key} {{}} ({','.join(values)})"
    for labels in ((), ((key, value),)):
        inside = Filters(selector=parse_selector(listed.format("in"))).matches(pod(labels=labels))
        outside = Filters(selector=parse_selector(listed.format("notin"))).matches(
            pod(labels=labels)
        )
        assert inside is not outside


def test_no_filter_wants_everything():
    assert not Filters().any
    for one in (pod(), HOST, UNKNOWN_POD, PLAIN_CONTAINER, Attribution()):
        assert Filters().matches(one)


def test_pods_only_keeps_pods_whose_name_is_not_known():
    only = Filters(pods_only=True)
    assert [only.matches(one) for one in (pod(), UNKNOWN_POD, STATIC_POD)] == [True] * 3
    assert [only.matches(one) for one in (HOST, PLAIN_CONTAINER, Attribution())] == [False] * 3


def test_names_are_alternatives_and_kinds_add_up():
    wanted = Filters(namespaces=frozenset({"shop", "bank"}), containers=frozenset({"app"}))
    assert wanted.matches(pod())
    assert wanted.matches(pod(namespace="bank"))
    assert not wanted.matches(pod(namespace="other"))
    assert not wanted.matches(pod(container="sidecar"))
    assert not wanted.matches(pod(container=None))
    assert not wanted.matches(UNKNOWN_POD)
    assert not wanted.matches(HOST)
    assert Filters(pods=frozenset({"web-1"})).matches(pod())
    assert not Filters(pods=frozenset({"web"})).matches(pod())


def test_labels_that_are_not_known_match_no_selector():
    logged = pod(labels=(), source=WorkloadSource.NODE_LOGS)
    assert not Filters(selector=parse_selector("!canary")).matches(logged)
    assert Filters(namespaces=frozenset({"shop"})).matches(logged)


@pytest.mark.parametrize(
    ("filters", "elsewhere", "text"),
    [
        (Filters(), 0, "no zombies"),
        (Filters(frozenset({"typo"})), 316, "no zombies in namespace typo (316 elsewhere)"),
        (Filters(frozenset({"typo"})), 0, "no zombies in namespace typo"),
        (
            Filters(frozenset({"b", "a"}), frozenset({"web"}), frozenset({"app"})),
            1,
            "no zombies in namespace a or b, pod web, container app (1 elsewhere)",
        ),
        (
            Filters(selector=parse_selector("app=web")),
            2,
            "no zombies with these labels (2 elsewhere)",
        ),
        (Filters(pods_only=True), 3, "no zombies in pods (3 elsewhere)"),
    ],
)
def test_what_to_say_when_no_zombie_passes(filters, elsewhere, text):
    assert filters.describe_none(elsewhere) == text
