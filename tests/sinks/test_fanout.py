"""A sink that fails keeps nothing from the others."""

import logging

from support.records import event

from tracer.sinks.fanout import Fanout


class Sink:
    def __init__(self, error=None, dropped=0):
        self.events, self.error, self._dropped, self.closed = [], error, dropped, None

    def emit(self, event):
        if self.error is not None:
            raise self.error
        self.events.append(event)

    def dropped(self):
        return self._dropped

    def close(self, timeout_seconds):
        self.closed = timeout_seconds
        if self.error is not None:
            raise self.error


def test_the_others_get_every_event_and_each_failure_is_counted_and_logged_once(caplog):
    broken, fine = Sink(ValueError("broken")), Sink(dropped=2)
    fanout = Fanout([broken, fine])
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            fanout.emit(event())
        broken.error = KeyError("another way")
        fanout.emit(event())
        fanout.close(1.5)
    assert len(fine.events) == 4
    assert fanout.dropped() == 4 + 2
    assert (broken.closed, fine.closed) == (1.5, 1.5)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "ValueError('broken')" in said[0]
    assert "KeyError('another way')" in said[1]
