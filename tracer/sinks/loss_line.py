"""The line about lines that are missing in the log. Pure."""

from tracer.clock import rfc3339
from tracer.model.status import OTHER
from tracer.render.document import Document
from tracer.render.text import escape_untrusted
from tracer.sinks.budget import LogBudget
from tracer.sinks.diagnostics import message_document
from tracer.sinks.left_out import Loss, Reason

_PODS_NAMED = 10


def loss_document(
    loss: Loss, budget: LogBudget | None, *, node_name: str, wall_ns: int
) -> Document:
    """Return the line about one namespace's lines that were left out.

    Args:
        loss: which lines.
        budget: of each pod; None when there is none, and only the queue was full.
        node_name: of this node.
        wall_ns: the time of the line, in Unix nanoseconds.
    """
    document = message_document(
        timestamp=rfc3339(wall_ns),
        level="warning",
        message=_message(loss, budget),
        scope=__name__,
        node_name=node_name,
    )
    document["k8s"] = {"node": {"name": node_name}, "namespace": {"name": loss.namespace}}
    document["lost"] = {
        "lines": loss.lines,
        "reason": loss.reason.value,
        "events": loss.events,
        "pods": [{"name": name, "lines": lines} for name, lines in _worst(loss)],
    }
    return document


def _worst(loss: Loss) -> list[tuple[str, int]]:
    return sorted(loss.pods.items(), key=lambda pod: (-pod[1], pod[0]))[:_PODS_NAMED]


def _message(loss: Loss, budget: LogBudget | None) -> str:
    lines, were = ("1 line", "was") if loss.lines == 1 else (f"{loss.lines} lines", "were")
    events = ", ".join(f"{count} {event}" for event, count in loss.events.items())
    text = f"{lines} about {_whose(loss)} ({events}) {were} left out of this log: "
    if loss.reason is Reason.QUEUE_FULL or budget is None:
        text += "its reader was too slow; check what reads the agent's output"
    else:
        text += (
            f"a pod gets {budget.burst} lines at once, then {budget.per_second} a second;"
            " to log more, raise --log-burst or --log-rate"
        )
    return text + ". The zombies are counted in summary and in the metrics."


def _whose(loss: Loss) -> str:
    if loss.namespace is None:
        return "zombies outside pods"
    if loss.namespace == OTHER:
        return "other namespaces"
    worst = _worst(loss)
    pod = f", most of them of pod {worst[0][0]}" if len(worst) > 1 else ""
    pod = f", all of pod {worst[0][0]}" if len(worst) == 1 else pod
    return escape_untrusted(f"namespace {loss.namespace}{pod}")
