"""The table of causes: one file each, in the order in which their rules are asked.

First come the causes that keep any parent from waiting, then those that the parent's
wait calls show, and last those that only the absence of wait calls shows. To add a
cause: write its file, and add it here.
"""

from tracer.diagnosis.causes import (
    exec_orphan,
    init_does_not_reap,
    parent_never_waits,
    parent_stopped,
    parent_waits_elsewhere,
    runtime_parent,
    sigchld_ignored,
    slow_reaper,
    traced,
    unknown,
)
from tracer.diagnosis.definition import CauseDefinition

CAUSES: tuple[CauseDefinition, ...] = (
    traced.CAUSE,
    runtime_parent.CAUSE,
    parent_stopped.CAUSE,
    sigchld_ignored.CAUSE,
    slow_reaper.CAUSE,
    exec_orphan.CAUSE,
    init_does_not_reap.CAUSE,
    parent_waits_elsewhere.CAUSE,
    parent_never_waits.CAUSE,
    unknown.CAUSE,
)
