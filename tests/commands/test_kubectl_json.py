"""The merged JSON of all nodes is as safe on a terminal as that of each."""

import json

import pytest

from tracer.commands.kubectl import _print_merged
from tracer.commands.kubectl_agents import Agent, Result


@pytest.mark.parametrize("letter", ["\x7f", "\x9b", "\u202e", "\x1b"])
def test_what_tenants_wrote_stays_escaped(letter, capsys):
    rows = json.dumps([{"process": {"executable": {"name": letter}}}])
    agents = [Agent(*(f"{field}-{number}" for field in Agent._fields)) for number in range(2)]
    status = _print_merged([Result(agent, 0, rows, "") for agent in agents])
    out = capsys.readouterr().out
    assert status == 0
    assert letter not in out
    assert json.loads(out) == 2 * json.loads(rows)
