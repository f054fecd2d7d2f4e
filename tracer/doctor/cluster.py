"""Asks the API server for pods as the agent's watch does, to see whether it may."""

import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tracer.doctor.check import Check, Status
from tracer.errors import UsageError

NAME = "kubernetes"
_TURN_OFF = ", or run without pod names with --no-kubernetes"
_REMEDIES = (
    (r"\(403\)", "grant get, list and watch on pods (deploy/base/rbac.yaml has the ClusterRole)"),
    (r"\(401\)", "give working credentials: a --kubeconfig, or a service account's token"),
    (
        "refused|unreachable|No route|timed out|timeout",
        "check that the API server runs there and that no firewall or NetworkPolicy is between",
    ),
    (
        "resolve|not known|name resolution",
        "check the server's name in the kubeconfig and this node's DNS",
    ),
    (
        "certificate|SSL|TLS",
        "check the certificate-authority of the kubeconfig, and this node's clock",
    ),
)
"""By words in what failed (a regular expression), in this order."""
_OTHER_REMEDY = "give a working --kubeconfig"
_TIMEOUT_SECONDS = (3.0, 5.0)
"""To connect, and to wait for the next byte."""


def kubernetes(
    kubeconfig: str | None, node_name: str, *, off: bool, environment: Mapping[str, str]
) -> Check:
    """List one pod of this node and start a watch, with the agent's own credentials.

    Args:
        kubeconfig: of --kubeconfig.
        node_name: the node to list the pods of.
        off: --no-kubernetes was given.
        environment: for $KUBECONFIG and the in-cluster variables.
    """
    if off:
        return Check(NAME, Status.SKIPPED, "turned off with --no-kubernetes")
    # Imported late: it takes 0.2 s and 18 MB, and a guest of tests/kernels does not have it.
    try:
        from tracer.kubernetes.config import connect  # noqa: PLC0415
    except ImportError as error:
        return Check(NAME, Status.SKIPPED, f"the kubernetes client is not installed ({error})")
    try:
        access, reason = connect(kubeconfig, environment=environment)
    except UsageError as error:
        return Check(NAME, Status.FAILED, str(error), _OTHER_REMEDY + _TURN_OFF, matters=True)
    if access is None:
        return Check(NAME, Status.SKIPPED, f"{reason}: zombies will be reported without pod names")
    for verb, query in (
        ("list", [("limit", "1"), ("resourceVersion", "0")]),
        ("watch", [("watch", "true"), ("timeoutSeconds", "1")]),
    ):
        refusal = _ask(access, node_name, verb, query)
        if refusal:
            result = f"{refusal} ({reason})"
            return Check(NAME, Status.FAILED, result, remedy(refusal), matters=True)
    return Check(NAME, Status.OK, f"may list and watch the pods of {node_name} ({reason})")


def remedy(failure: str) -> str:
    """Return what to do about a request that failed for this reason."""
    for words, what in _REMEDIES:
        if re.search(words, failure, re.IGNORECASE):
            return what + _TURN_OFF
    return _OTHER_REMEDY + _TURN_OFF


def _ask(access: Any, node_name: str, verb: str, query: list[tuple[str, str]]) -> str | None:
    """Make one request; return why it failed, None when it did not."""
    from tracer.kubernetes import client  # noqa: PLC0415 - as above
    from tracer.kubernetes.errors import from_error  # noqa: PLC0415

    try:
        api = access.load()
        response = client.get(
            api,
            "/api/v1/pods",
            [("fieldSelector", f"spec.nodeName={node_name}"), *query],
            timeout_seconds=_TIMEOUT_SECONDS,
        )
        with closing(response):
            return None
    except Exception as error:  # noqa: BLE001 - any error is the check's result
        return str(from_error(error, verb, access.origin).message)
