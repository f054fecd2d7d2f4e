"""What the table reports: the changes in the life of a zombie."""

from typing import NamedTuple

from tracer.model.storm import Storm
from tracer.model.zombie import Zombie


class Detected(NamedTuple):
    """A child reached the minimum age unreaped."""

    zombie: Zombie


class Aged(NamedTuple):
    """A detected zombie reached a further age."""

    zombie: Zombie
    step_ns: int


class Reaped(NamedTuple):
    """A detected zombie is gone. lifetime_ns is a lower bound where its exit was not seen."""

    zombie: Zombie
    gone_boot_ns: int
    lifetime_ns: int


class StormChanged(NamedTuple):
    """A storm began, continues (once per interval), ended, or drained."""

    storm: Storm


Transition = Detected | Aged | Reaped | StormChanged
