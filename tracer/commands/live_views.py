"""How `tracer --follow` shows events to a client of the agent: as text or as JSON lines."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone, tzinfo

from tracer import __version__
from tracer.agent.serve.request import Request
from tracer.clock import boot_to_wall_ns
from tracer.model import Process
from tracer.model.event import Event
from tracer.options import Options
from tracer.procfs.fs import ProcFs
from tracer.procfs.identity import read_command_line
from tracer.render.cause_id import ExplainedCauses
from tracer.render.document import event_document, explained_by
from tracer.render.live import MAX_COLUMNS, LiveView
from tracer.sinks.json_line import log_line
from tracer.sinks.live import frame_bytes, wants_colour


class TextView:
    """Events as aligned lines.

    Args:
        request: of the client, whose terminal this is for.
    """

    def __init__(self, request: Request) -> None:
        environment = request.environment
        refresh = request.terminal and environment.get("TERM", "dumb") != "dumb"
        self._view = LiveView(
            zone=_zone(request.utc_offset_seconds),
            columns=request.columns or MAX_COLUMNS,
            colour=wants_colour(environment, terminal=request.terminal),
            refresh=refresh,
        )

    def render(self, event: Event) -> str:
        """Return the lines of an event."""
        return frame_bytes(self._view.frame(event, to_wall_ns=boot_to_wall_ns())).decode()

    def resize(self, columns: int) -> None:
        """Use another width."""
        self._view.resize(columns)


class JsonView:
    """Events as the lines of the log.

    Args:
        chosen: the options of the client.
        proc: where command lines are read, if the client wants them.
    """

    def __init__(self, chosen: Options, proc: ProcFs) -> None:
        self._node_name = chosen.node_name
        self._level = logging.getLevelNamesMapping()[chosen.log_level.upper()]
        self._proc = proc
        self._command_lines = chosen.command_lines
        self._boot_id = proc.boot_id()
        self._explained = ExplainedCauses()

    def render(self, event: Event) -> str:
        """Return the line of an event; empty when it is less severe than the client wants."""
        if logging.getLevelNamesMapping()[event.severity.upper()] < self._level:
            return ""
        if event.record is not None:
            command_line = self._command_line(event.record.parent)
            event = replace(event, record=replace(event.record, command_line=command_line))
        document = event_document(
            event,
            node_name=self._node_name,
            to_wall_ns=boot_to_wall_ns(),
            version=__version__,
            boot_id=self._boot_id,
            explained=self._explained,
        )
        explanation = explained_by(document)
        if explanation is not None:
            self._explained.add(explanation)
        return log_line(document).decode()

    def _command_line(self, parent: Process | None) -> str | None:
        """Return what the client asked for, whatever the agent's own log has."""
        if parent is None or not self._command_lines:
            return None
        return read_command_line(self._proc, parent.identity)

    def resize(self, columns: int) -> None:
        """Do nothing: a line has no width."""
        del columns


def _zone(utc_offset_seconds: int | None) -> tzinfo | None:
    if utc_offset_seconds is None:
        return datetime.now().astimezone().tzinfo
    return timezone(timedelta(seconds=utc_offset_seconds))
