"""What the live view says of events without a zombie: one plain line each."""

import pytest

from tracer.model.event import Event, EventName
from tracer.render.notices import notice

ZOMBIES = {"now": 1, "detected": 20, "reaped": 19, "by_namespace": [{"name": "a", "zombies": 1}]}


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        (
            EventName.AGENT_STARTED,
            {"source": {"name": "proc", "reason": "no BTF"}, "settings": {"min_age": "3s"}},
            "source proc (no BTF), press Ctrl-C to stop",
        ),
        (
            EventName.AGENT_STOPPED,
            {
                "source": {"name": "core", "reason": "SIGTERM"},
                "zombies": ZOMBIES,
                "lost": {"map_full": 0, "sink": 0},
                "uptime_seconds": 12.5,
            },
            "SIGTERM, 1 zombie now, 20 detected, 19 reaped",
        ),
        (
            EventName.SUMMARY,
            {
                "zombies": {**ZOMBIES, "now": 0},
                "lost": {"map_full": 3, "sink": 1, "ring_full": 0},
                "kubernetes": {"up": False, "error": "refused"},
            },
            "0 zombies now, 20 detected, 19 reaped, Kubernetes: refused, lost: map full 3, sink 1",
        ),
        (
            EventName.SOURCE_CHANGED,
            {"source": {"name": "proc", "previous": "core", "reason": "the map is gone"}},
            "proc instead of core (the map is gone)",
        ),
        (
            EventName.SOURCE_CHANGED,
            {"source": {"name": "core", "previous": "core", "reason": "5 events lost"}},
            "core (5 events lost)",
        ),
        (
            EventName.PIDS_PRESSURE,
            {"pids": {"used": 90, "limit": 100, "zombies": 0, "growth_per_second": 0.0}},
            "90 of 100 PIDs used",
        ),
        (EventName.SUMMARY, {}, ""),
    ],
)
def test_notices(name, fields, text):
    assert notice(Event(name, 0, fields=fields)) == text
