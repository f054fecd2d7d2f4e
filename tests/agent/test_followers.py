"""Live views inside the agent: what clients are shown, and what the agent's log does not notice.

The source is scripted, its zombies are made up: they come and go at set moments.
"""

import contextlib
import itertools
import json
from functools import partial

import pytest
from support.ageing_source import AgeingSource
from support.engines import Recorder, engine
from support.zombies import wait_until

from tracer.agent import followers as module
from tracer.agent.follower import MOST_OBSERVATIONS, AgentView, Follower
from tracer.agent.followers import EVENTS_A_ROUND
from tracer.agent.subscriptions import MOST_AGES, MOST_CLIENTS
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError, TemporaryError
from tracer.model import Child, StormPhase
from tracer.model.event import EventName
from tracer.procfs.fs import ProcFs
from tracer.render.document import event_document
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore
from tracer.table.storm import StormRules

OWN = NS * 3 // 2
"""The agent's minimum age here."""
LOW = NS // 10
"""The lowest age at which a source reports here; outside of this file it is a second."""
PARENT = 4_090_001


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "LOWEST_SOURCE_AGE_NS", LOW)


@contextlib.contextmanager
def agent(**options):
    """Run an agent with a scripted source."""
    source = AgeingSource(OWN)
    options = {"makers": {"core": lambda: source}, "source": "core", **options}
    with engine(None, min_age_ns=OWN, **options) as running:
        wait_until(lambda: source.snapshots, what="the first snapshot")
        yield running, source


class Client(Recorder):
    """A client of a live view."""

    def __init__(self, running, min_age_ns=LOW):
        super().__init__()
        self.subscription = running.followers.subscribe(min_age_ns, self)

    def names(self):
        return [event.name.value for event in list(self.events)]

    def shown(self, dead):
        """Wait until these were detected, and check that each was once."""
        pids = [each.identity.pid for each in dead]
        self.detected(pids)
        assert self.count(EventName.ZOMBIE_DETECTED, pids) == len(pids)

    def gone(self, dead):
        """Wait until these were reaped, and check that each was once."""
        pids = [each.identity.pid for each in dead]
        self.reaped(pids)
        assert self.count(EventName.ZOMBIE_REAPED, pids) == len(pids)


def settled(running):
    """Wait until the engine has been through two rounds."""
    for _ in range(2):
        last = running.board.current().last_tick_boot_ns
        running.stop.wake()
        wait_until(lambda last=last: running.board.current().last_tick_boot_ns != last)


def test_a_client_sees_the_agent_then_what_is_there_then_what_happens():
    with agent() as (running, source):
        there = [source.die(pid) for pid in range(4_100_001, 4_100_004)]
        running.heard.detected([each.identity.pid for each in there])
        client = Client(running)
        client.shown(there)
        assert client.names()[0] == "agent_started"
        started = client.events[0].fields
        assert started["source"] == {"name": "core", "reason": running.sources.reason}
        assert started["settings"]["min_age_seconds"] == LOW / NS
        new = source.die(4_100_009)
        client.shown([new])
        assert running.heard.count(EventName.ZOMBIE_DETECTED, [4_100_009]) == 0
        source.reap(new)
        source.reap(there[0])
        client.gone([new, there[0]])
        running.heard.reaped([there[0].identity.pid])
        running.end()
        assert client.names()[-1] == "agent_stopped"
        assert client.closed
        assert running.heard.count(EventName.ZOMBIE_DETECTED, [4_100_009]) == 0
    with pytest.raises(TemporaryError, match="is stopping"):
        running.followers.subscribe(LOW, Recorder())


def test_clients_with_one_age_share_a_view_and_each_sees_everything_once():
    with agent() as (running, source):
        there = [source.die(4_100_000 + n) for n in range(5)]
        first = Client(running)
        first.shown(there)
        source.reap(there[0])
        first.gone(there[:1])
        second = Client(running)
        second.shown(there[1:])
        assert len(running.followers._views) == 1
        new = source.die(4_100_100)
        for client in (first, second):
            client.shown([new])
        source.reap(there[1])
        for client in (first, second):
            client.gone([there[1]])
        assert second.count(EventName.ZOMBIE_DETECTED, [4_100_000]) == 0
        assert second.count(EventName.ZOMBIE_REAPED, [4_100_000]) == 0
        older = Client(running, OWN)
        older.shown(there[2:])
        assert len(running.followers._views) == 2


def test_the_source_reports_as_early_as_the_youngest_client_wants_it():
    with agent() as (running, source):
        assert source.ages == []
        clients = [Client(running, age) for age in (NS, LOW * 2, LOW // 2, OWN * 2)]
        wait_until(lambda: len(running.followers._views) == 4, what="the views")
        assert source.ages[-1] == LOW
        clients[2].subscription.close()
        wait_until(lambda: source.ages[-1] == LOW * 2, what="a higher age")
        clients[1].subscription.close()
        wait_until(lambda: source.ages[-1] == NS, what="a higher age")
        clients[0].subscription.close()
        wait_until(lambda: source.ages[-1] == OWN, what="the agent's own age")
        assert list(running.followers._views) == [OWN * 2]
        clients[3].subscription.close()
        clients[3].subscription.close()
        wait_until(lambda: not running.followers._views, what="the end of the last view")
        count = len(clients[3].events)
        dead = source.die(4_100_001)
        running.heard.detected([dead.identity.pid])
        assert len(clients[3].events) == count
        assert not clients[3].closed, "it closed itself"


def test_an_agent_with_a_lower_age_than_clients_get_keeps_its_own():
    """Otherwise a client would make the agent's own reports late."""
    source = AgeingSource(LOW // 2)
    options = {"makers": {"core": lambda: source}, "source": "core", "min_age_ns": LOW // 2}
    with engine(None, **options) as running:
        client = Client(running, LOW * 2)
        client.shown([source.die(4_100_001)])
        assert source.ages == []


VOLATILE = {
    "event.id",
    "timestamp",
    "age_seconds",
    "lifetime_seconds",
    "time",
    "rate_per_second",
    "oldest_age_seconds",
    "interval_seconds",
    "uptime_seconds",
}


def stable(value):
    """Return a document without what differs between two runs: times."""
    if isinstance(value, dict):
        return {key: stable(each) for key, each in value.items() if key not in VOLATILE}
    return [stable(each) for each in value] if isinstance(value, list) else value


def run_of_an_agent(folder, ages):
    """Let zombies come and go under an agent with such clients; return its log and its state."""
    store = StateStore(folder, "boot")
    checkpoint = partial(Checkpoint, store, ProcFs(), writes=True)
    rules = StormRules(burst=6, refill_per_second=0.001)
    with agent(checkpoint=checkpoint, rules=rules) as (running, source):
        running.heard.written = running.checkpoint.lines.written
        clients = [Client(running, age) for age in ages]
        settled(running)
        # Those of one moment have one time of death: then no round comes between them.
        started = boot_ns()
        dead = [source.die(4_100_000 + n, exit_boot_ns=started) for n in range(5)]
        unseen_since = started + OWN // 4
        unseen = source.die(4_102_000, exit_boot_ns=None, last_ran_boot_ns=unseen_since)
        wait_until(lambda: boot_ns() > unseen_since)
        running.take_snapshot()
        # These are siblings of the first in the table of a client, and gone before OWN.
        now = started + OWN * 3 // 4
        wait_until(lambda: boot_ns() > now)
        young = [source.die(4_101_000 + n, exit_boot_ns=now) for n in range(40)]
        late = [source.die(4_103_000 + n, PARENT + 1, exit_boot_ns=now) for n in range(3)]
        for client in clients[:1]:
            client.shown([*dead, *young])
        assert boot_ns() < started + OWN, "this machine is too slow for this test"
        running.heard.detected([each.identity.pid for each in dead])
        # The table is saved once a second.
        wait_until(lambda: boot_ns() > now + NS * 11 // 10)
        saved = StateStore(folder, "boot").load().zombies
        for each in young:
            source.reap(each)
        assert boot_ns() < now + OWN, "this machine is too slow for this test"
        running.heard.detected([each.identity.pid for each in (*late, unseen)])
        source.reap(dead[0])
        running.heard.reaped([dead[0].identity.pid])
        now = boot_ns()
        storm = [source.die(4_104_000 + n, exit_boot_ns=now) for n in range(20)]
        wait_until(lambda: running.heard.storms(PARENT), what="a storm")
        for client in clients:
            client.subscription.close()
        source.reap(storm[0])
        settled(running)
    documents = [
        event_document(event, node_name="n", to_wall_ns=0, version="0")
        for event in running.heard.events
    ]
    after = StateStore(folder, "boot").load()
    state = [
        (identity.pid, zombie.step_ns, zombie.detected_boot_ns is not None)
        for identity, zombie in after.zombies.items()
    ]
    counters = [(each.parent.pid, each.detected, each.reaped) for each in after.storms.values()]
    by_pid = sorted(stable(documents), key=lambda each: json.dumps(each, default=str))
    return {
        "log": by_pid,
        "state": (sorted(state), counters),
        "state meanwhile": sorted(identity.pid for identity in saved),
    }


def test_the_agents_log_and_state_are_the_same_with_and_without_clients(tmp_path, monkeypatch):
    """Siblings, storms, bounds and the state count what the agent itself has detected."""
    without = run_of_an_agent(tmp_path / "without", [])
    followed = run_of_an_agent(tmp_path / "with", [LOW, LOW * 5, OWN * 2])
    assert followed["state meanwhile"] == without["state meanwhile"]
    assert followed["state"] == without["state"]
    for one, other in itertools.zip_longest(followed["log"], without["log"]):
        assert one == other


def test_so_many_clients_and_ages_and_no_more():
    with agent() as (running, _):
        ages = [NS * (n + 1) for n in range(MOST_AGES)]
        clients = [Client(running, age) for age in ages]
        with pytest.raises(TemporaryError) as refused:
            Client(running, 60 * NS)
        assert str(refused.value) == (
            "clients follow this agent with 4 minimum ages already, and it serves no more:"
            " use --min-age with one of 1s, 2s, 3s, 4s"
        )
        clients += [Client(running, ages[0]) for _ in range(MOST_CLIENTS - MOST_AGES)]
        with pytest.raises(TemporaryError, match="16 clients follow this agent already"):
            Client(running, ages[0])
        clients[0].subscription.close()
        clients.append(Client(running, ages[0]))
        wait_until(lambda: all(client.events for client in clients[1:]), what="the starts")


def test_a_sink_that_raises_ends_alone():
    with agent() as (running, source):
        client, broken = Client(running), Client(running)
        broken.emit = lambda _: 1 / 0
        dead = source.die(4_100_001)
        client.shown([dead])
        wait_until(lambda: broken.closed, what="its end")
        wait_until(lambda: len(running.followers._subscriptions.current()) == 1, what="its place")
        source.reap(dead)
        client.gone([dead])


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (TemporaryError("no descriptors are left"), "no descriptors are left"),
        (ValueError("a bug"), "internal error (ValueError at ageing_source.py"),
    ],
)
def test_a_view_that_fails_ends_its_clients_and_not_the_agent(fault, reason):
    with agent() as (running, source):
        failing = [Client(running), Client(running)]
        for client in failing:
            client.shown([])
            wait_until(lambda client=client: client.events, what="its start")
        source.look_error = fault
        running.take_snapshot()
        for client in failing:
            wait_until(lambda client=client: client.closed, what="its end")
            last = client.events[-1]
            assert (last.name, last.severity) == (EventName.AGENT_STOPPED, "error")
            assert last.fields["source"]["reason"].startswith(f"this live view ended: {reason}")
            assert last.fields["source"]["reason"].endswith("run the command again")
        wait_until(lambda: source.ages[-1] == OWN, what="the agent's own age")
        source.look_error = None
        dead = source.die(4_100_001)
        running.heard.detected([dead.identity.pid])
        Client(running).shown([dead])
        assert running.heard.of(EventName.SOURCE_CHANGED) == []


def test_a_source_that_cannot_change_its_age_costs_the_view_and_nothing_else():
    with agent() as (running, source):

        def refuse(_):
            raise PermanentError("the map cannot be written")

        source.set_min_age, works = refuse, source.set_min_age
        client = Client(running)
        wait_until(lambda: client.closed, what="its end")
        assert "the map cannot be written" in client.events[-1].fields["source"]["reason"]
        source.set_min_age = works
        wait_until(lambda: source.ages == [OWN], what="the agent's own age")
        running.heard.detected([source.die(4_100_001).identity.pid])


def test_while_the_source_fails_a_view_waits_and_does_not_spin():
    with agent() as (running, source):
        client = Client(running)
        client.shown([source.die(4_100_001)])
        source.poll_error = TemporaryError("no descriptors are left")
        view = running.followers._views[LOW]
        wait_until(lambda: running.sources.problem, what="the failure")
        view.want_look()
        now = boot_ns()
        assert running.followers.next_due_boot_ns(running.sources, now) != now
        source.poll_error = None
        client.shown([source.die(4_100_002)])
        assert not client.closed


def test_clients_learn_that_the_source_changed_and_later_ones_which_it_is():
    proc = AgeingSource(OWN)
    proc.name = "proc"
    core = AgeingSource(OWN)
    makers = {"core": lambda: core, "proc": lambda: proc}
    with engine(None, makers=makers, min_age_ns=OWN) as running:
        client = Client(running)
        client.shown([core.die(4_100_001)])
        core.poll_error = PermanentError("the program is gone")
        [changed] = wait_until(lambda: client.of(EventName.SOURCE_CHANGED), what="the change")
        assert changed.fields["source"]["name"] == "proc"
        assert proc.ages == [LOW], "the new source reports as early as the old one"
        wait_until(lambda: client.reported(EventName.ZOMBIE_REAPED), what="what proc lacks")
        later = Client(running)
        wait_until(lambda: later.events, what="its start")
        assert later.events[0].fields["source"]["name"] == "proc"
        later.shown([proc.die(4_100_002)])


def test_what_an_earlier_agent_saw_is_shown_with_what_it_saw():
    """A look has no exit time of a death before this agent; its table has it from the state."""
    with agent() as (running, source):
        dead = source.die(4_100_001)
        running.heard.detected([dead.identity.pid])
        source._dead[dead.identity] = Child(
            dead.identity, dead.parent_pid, dead.start_boot_ns, last_ran_boot_ns=boot_ns()
        )
        client = Client(running)
        client.shown([dead])
        [event] = client.of(EventName.ZOMBIE_DETECTED)
        shown = event.record.zombie.child
        assert (shown.exit_boot_ns, shown.forker) == (dead.exit_boot_ns, dead.forker)


def test_a_storm_is_shown_to_who_joins_later_and_once_more_at_the_end():
    rules = StormRules(burst=20, refill_per_second=0.001, interval_ns=60 * NS)
    with agent(follow_rules=rules) as (running, source):
        first, now = Client(running), boot_ns() + LOW
        dead = [source.die(4_100_000 + n, exit_boot_ns=now) for n in range(100)]
        wait_until(lambda: first.storms(PARENT), what="a storm")
        later = Client(running)
        [shown] = wait_until(lambda: later.storms(PARENT), what="the storm")
        assert (shown.storm.phase, shown.storm.zombies) == (StormPhase.ONGOING, 100)
        wait_until(lambda: len(later.reported(EventName.ZOMBIE_DETECTED)) == 20, what="the rest")
        source.reap(dead[-1])
        settled(running)
        running.end()
        last = later.storms(PARENT)[-1].storm
        assert (last.zombies, last.reaped) == (99, 1)


class Rounds(Recorder):
    """A client, and a reporter of an agent, that notes which event came in which round."""

    def __init__(self):
        super().__init__()
        self.rounds = []

    def emit(self, event):
        super().emit(event)
        self.rounds[-1] += 1


def test_a_storm_of_100000_is_bounded_work_and_bounded_memory_in_each_round():
    """The bounds are those of one view; what it does not take in is found by its next look."""
    with agent() as (running, source):
        pass
    gate, sink = running.followers.gate, Rounds()
    gate.lowered = True
    rules = StormRules(burst=1000, listed=1000)
    agent_view = AgentView(running.table, gate)
    view = Follower(LOW, lambda age, out: running.make(age, out, rules), agent_view)
    view.join(sink, None, boot_ns())
    dead = [source.die(3_000_000 + n, parent=PARENT + n // 10_000) for n in range(100_000)]
    now = boot_ns() + NS
    for one in range(0, len(dead), 5_000):
        batch = dead[one : one + 5_000]
        running.table.apply(batch, now)
        view.take(batch)
        assert len(view._observations) <= MOST_OBSERVATIONS
    assert view.look_due(now)
    sink.rounds.append(0)
    view.look(source, now)
    while view.next_due_boot_ns(now, may_look=True) == now:
        sink.rounds.append(0)
        view.work(now, EVENTS_A_ROUND)
        assert sink.rounds[-1] <= EVENTS_A_ROUND
    shown = len(sink.of(EventName.ZOMBIE_DETECTED))
    counted = sum(event.storm.storm.detected for event in sink.of(EventName.ZOMBIE_STORM))
    assert shown <= 10 * 1000
    assert shown + counted == 100_000


def test_the_agent_reports_before_its_clients_do():
    """In a round its own transitions come first, so that clients never delay them."""
    with agent() as (running, source):
        client = Client(running, OWN)
        order = []
        client.emit = lambda event: order.append(("client", event.name))
        running.heard.written = lambda event: order.append(("agent", event.name))
        source.die(4_100_001)
        wait_until(lambda: ("client", EventName.ZOMBIE_DETECTED) in order, what="both")
    detected = [who for who, name in order if name is EventName.ZOMBIE_DETECTED]
    assert detected == ["agent", "client"]


def test_the_last_lines_of_an_agent_say_where_its_storms_stand():
    """A report was due once in 30 s: what came after the last one was in no line."""
    with agent(rules=StormRules(burst=5, refill_per_second=0.001)) as (running, source):
        now = boot_ns()
        dead = [source.die(4_100_000 + n, exit_boot_ns=now) for n in range(20)]
        wait_until(lambda: running.heard.storms(PARENT), what="a storm")
        source.reap(dead[-1])
        settled(running)
        running.end()
        *_, last, stopped = running.heard.events
        assert stopped.name is EventName.AGENT_STOPPED
        assert (last.storm.storm.zombies, last.storm.storm.reaped) == (19, 1)
