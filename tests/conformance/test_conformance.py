"""Every scenario before every source; and the table of what they know is the one in the docs."""

from pathlib import Path

import pytest
from support.kernel import require

from . import facts
from .actors import SCENARIOS
from .harness import Session

DOCS = Path(__file__).parents[2] / "docs/sources.md"


@pytest.fixture(scope="module")
def outcome(request):
    """The results of all scenarios that were asked for, run together, and their session."""
    asked = {
        item.callspec.params["scenario"]
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec")
    }
    session = Session(facts.SOURCES, [name for name in SCENARIOS if name in asked])
    return {result.scenario: result for result in session.run()}, session


@pytest.mark.kernel
@pytest.mark.parametrize("source", facts.SOURCES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_source_tells_the_truth(scenario, source, outcome):
    results, session = outcome
    require(source not in session.failed, f"{source} cannot start: {session.failed.get(source)}")
    require(not results[scenario].skipped, results[scenario].skipped)
    assert results[scenario].wrong[source] == []


def test_the_table_in_the_docs_is_the_one_that_is_tested():
    assert "\n".join(facts.table()) in DOCS.read_text()


def test_every_fact_has_its_words():
    assert set(facts.WORDS) == set(facts.KNOWN) == set(facts.KNOWN_OF_OLDER)
