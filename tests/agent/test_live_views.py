"""Live views inside the agent with real zombies and real sources."""

import contextlib
import os
import signal
from functools import partial

import pytest
from support.engines import Recorder, engine
from support.kernel import require
from support.scripted import script
from support.zombies import start_ticks, wait_until, zombies

from tracer.agent import followers as module
from tracer.clock import NS, boot_ns
from tracer.errors import PermanentError
from tracer.model.event import EventName
from tracer.procfs.fs import ProcFs
from tracer.render.document import event_document
from tracer.sources.bcc.source import BccSource
from tracer.sources.core.source import CoreSource
from tracer.sources.proc.source import ProcSource
from tracer.state.checkpoint import Checkpoint
from tracer.state.store import StateStore

pytestmark = pytest.mark.kernel

OWN = 2 * NS
LOW = NS // 4

MAKERS = {
    "core": lambda: CoreSource(min_age_ns=OWN),
    "bcc": lambda: BccSource(ProcFs(), OWN),
    "proc": lambda: ProcSource(ProcFs(), OWN),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(module, "LOWEST_SOURCE_AGE_NS", LOW)


@contextlib.contextmanager
def agent(name="core", **options):
    makers = {name: MAKERS[name]}
    with engine(None, source=name, makers=makers, min_age_ns=OWN, **options) as running:
        require(not isinstance(running.error, PermanentError), str(running.error))
        yield running


def follow(running, min_age_ns=LOW):
    client = Recorder()
    running.followers.subscribe(min_age_ns, client)
    return client


def once(client, name, pids):
    assert client.count(name, pids) == len(pids)


@pytest.mark.parametrize("name", ["core", "bcc", "proc"])
def test_each_client_sees_each_zombie_once_and_the_agent_only_its_own(name):
    with agent(name) as running, zombies(5) as family, zombies(0) as busy:
        log, old = running.heard, list(family.pids)
        first = follow(running)
        first.detected(old)
        short = busy.spawn(10)
        first.detected(short)
        second, third = follow(running), follow(running, NS)
        busy.reap(10)
        for client in (first, second):
            client.detected(old)
            client.reaped(short)
        log.detected(old)
        third.detected(old)
        gone = family.reap(2)
        for client in (first, second, third, log):
            client.reaped(gone)
            once(client, EventName.ZOMBIE_DETECTED, old)
            once(client, EventName.ZOMBIE_REAPED, gone)
        once(first, EventName.ZOMBIE_DETECTED, short)
        once(first, EventName.ZOMBIE_REAPED, short)
        reaped = set(second.reported(EventName.ZOMBIE_REAPED))
        assert reaped <= set(second.reported(EventName.ZOMBIE_DETECTED)), "shown before"
        assert log.count(EventName.ZOMBIE_DETECTED, short) == 0, "younger than the agent's age"
        assert running.error is None


def test_a_snapshot_of_the_agent_hides_nothing_from_clients():
    """What its snapshot finds, poll() does not return: clients get it by a look of their own."""
    with agent() as running, zombies(0) as family:
        client = follow(running)
        for _ in range(20):
            family.spawn(20)
            running.take_snapshot()
        client.detected(family.pids)
        gone = family.reap(200)
        running.take_snapshot()
        client.reaped(gone)
        running.heard.detected(family.pids)
        once(client, EventName.ZOMBIE_DETECTED, [*gone, *family.pids])
        once(client, EventName.ZOMBIE_REAPED, gone)
        once(running.heard, EventName.ZOMBIE_DETECTED, family.pids)


def about(running, pids):
    """Return what the log says of these, without times and pids."""
    lines = []
    for event in running.heard.events:
        if event.record is None or event.record.zombie.child.identity.pid not in pids:
            continue
        line = event_document(event, node_name="n", to_wall_ns=0, version="0")
        process = line["process"]
        lines.append(
            (
                event.name.value,
                process["exit"]["code"],
                process["exit"]["time_known"],
                process["executable"]["name"],
                line["forker"]["executable"]["name"],
                line["cause"]["code"],
                line["cause"]["confidence"],
                len(line["cause"]["evidence"]),
            )
        )
    return lines


def test_the_agents_log_of_real_zombies_is_the_same_with_clients():
    """Also with siblings that live too short for the agent: only clients see these."""
    said = []
    for ages in ([], [LOW, NS]):
        with agent() as running, zombies(3) as family:
            clients = [follow(running, age) for age in ages]
            dead = list(family.pids)
            died = boot_ns()
            wait_until(lambda died=died: boot_ns() > died + OWN // 2)
            short = family.spawn(4)
            for client in clients[:1]:
                client.detected(short)
            running.heard.detected(dead)
            for event in running.heard.of(EventName.ZOMBIE_DETECTED):
                if event.record.zombie.child.identity.pid in dead:
                    assert event.record.zombie.siblings <= 2, "the young are not counted"
            family.reap()
            running.heard.reaped(dead)
            assert running.heard.count(EventName.ZOMBIE_DETECTED, short) == 0
            said.append(about(running, set(dead)))
    assert said[0] == said[1]


def test_what_an_earlier_agent_saw_clients_of_the_next_one_see(tmp_path):
    """Its exit time and forker are in the state only: the kernel's maps began anew."""

    def checkpoint():
        return partial(Checkpoint, StateStore(tmp_path, "boot"), ProcFs(), writes=True)

    with zombies(0) as family:
        with agent(checkpoint=checkpoint()) as running:
            running.heard.written = running.checkpoint.lines.written
            [pid] = family.spawn(1)
            running.heard.detected([pid])
            [seen] = running.heard.of(EventName.ZOMBIE_DETECTED)
        died = seen.record.zombie.child.exit_boot_ns
        assert died is not None
        with agent(checkpoint=checkpoint()) as running:
            client = follow(running)
            client.detected([pid])
            [shown] = [e for e in client.of(EventName.ZOMBIE_DETECTED) if e.record]
            dead = shown.record.zombie.child
            assert (dead.exit_boot_ns, dead.forker) == (died, seen.record.zombie.child.forker)
            assert shown.record.age_ns >= boot_ns() - died - 5 * NS
            assert running.heard.count(EventName.ZOMBIE_DETECTED, [pid]) == 0


LEAVES_ZOMBIES_TO_A_SUBREAPER = """
libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
read, write = os.pipe()
def leak():
    pids = [dead(born()) for _ in range(3)]
    os.write(write, b"x")
    time.sleep(600)
parent = born(leak)
os.read(read, 1)
say(parent=parent)
"""


def test_zombies_adopted_while_they_wait_are_counted_for_the_adopter():
    """The source reported them under the old parent; the agent's log names the new one."""
    with agent() as running:
        client = follow(running)
        with script(LEAVES_ZOMBIES_TO_A_SUBREAPER) as leaks:
            wait_until(lambda: len(client.of(EventName.ZOMBIE_DETECTED)) >= 3, what="the zombies")
            os.kill(leaks.parent, signal.SIGKILL)
            wait_until(lambda: children(running, leaks.pid) >= 3, what="the agent's detections")
            last = [
                e for e in running.heard.of(EventName.ZOMBIE_DETECTED) if parent(e) == leaks.pid
            ]
            assert max(event.record.zombie.siblings for event in last) >= 2
            assert start_ticks(leaks.pid)


def parent(event):
    return event.record.zombie.child.parent_pid


def children(running, pid):
    return sum(parent(e) == pid for e in running.heard.of(EventName.ZOMBIE_DETECTED))
