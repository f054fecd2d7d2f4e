"""Steps that several causes share, and commands to paste: shown, never run. Pure.

A tenant may choose the names of units, cgroups and containers. They are quoted for the
shell, and a command that would need a name that cannot be pasted is left out.
"""

import json
from shlex import join, quote

from tracer.diagnosis import programs
from tracer.model import Evidence, Owner, Process, Workload
from tracer.render.text import cut, escape_untrusted

_PATCHABLE = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""Kinds whose pod template can be changed and rolled out."""

_MAX_NAME = 40
"""Characters of a program's name; a file name can have 255."""
_MAX_PATH = 120
"""A longer cgroup path leaves no room for the rest of the advice."""
_MAX_PROBE = 60
"""Characters of a probe's command."""

KILLING_HAS_NO_EFFECT = "Killing the zombie has no effect: it is already dead."
INIT_DOES_NOT_HELP = (
    "An init (tini) does not help here: it cannot reap the children of a parent that is "
    "still running."
)
RUN_AN_INIT = (
    'Run an init such as tini or dumb-init as PID 1: `ENTRYPOINT ["tini", "--", …]` in the '
    "image, or `docker run --init`."
)


def _pasteable(*names: str | None) -> bool:
    """Return whether names survive being copied from a terminal, out of backquotes."""
    known = [name for name in names if name is not None]
    return all("`" not in name and escape_untrusted(name) == name for name in known)


def workload_of(evidence: Evidence) -> Workload | None:
    """Return the pod; None where there is none, or none that commands can name."""
    workload = evidence.attribution.workload if evidence.attribution else None
    if workload is None:
        return None
    owner = workload.owner.name if workload.owner else None
    named = _pasteable(workload.namespace, workload.pod, workload.container, owner)
    return workload if named else None


def who(process: Process) -> str:
    """Name a program by its PID on the node, and by the one that its container's owner sees."""
    pid, inside = process.identity.pid, process.vpid
    also = "" if inside in {None, pid} else f", {inside} in its container"
    return f"{program(process)} (pid {pid}{also})"


def program(process: Process) -> str:
    """Name a program, at a length that leaves room for the rest of the sentence."""
    return cut(escape_untrusted(programs.program(process)), _MAX_NAME)


def remove_zombies(evidence: Evidence, ends: str = "the parent") -> str:
    """Say how to remove the zombies of now, and that this is no fix.

    Args:
        evidence: of one of them.
        ends: what has to end, where no command can be given.
    """
    workload = workload_of(evidence)
    unit = evidence.attribution.unit if evidence.attribution else None
    if workload is not None:
        command = restart(workload)
    elif unit and unit.endswith(".service") and _pasteable(unit):
        command = restart_unit(unit)
    else:
        return f"Ending {ends} removes the current zombies, but they will come back."
    return f"Restarting removes the current zombies, but they will come back: `{command}`."


def restart_unit(unit: str) -> str:
    """Restart a systemd unit."""
    end_of_options = "-- " if unit.startswith("-") else ""
    return f"systemctl restart {end_of_options}{quote(unit)}"


def _kubectl(workload: Workload) -> str:
    return f"kubectl -n {quote(workload.namespace)}"


def _controller(workload: Workload) -> Owner | None:
    owner = workload.owner
    return owner if owner is not None and owner.kind in _PATCHABLE else None


def restart(workload: Workload) -> str:
    """Replace the pod."""
    owner = _controller(workload)
    if owner is not None:
        return f"{_kubectl(workload)} rollout restart {owner.kind.lower()}/{quote(owner.name)}"
    return f"{_kubectl(workload)} delete pod {quote(workload.pod)}"


def inside(workload: Workload, command: str) -> str:
    """Run a command in the container."""
    container = f" -c {quote(workload.container)}" if workload.container else ""
    return f"{_kubectl(workload)} exec {quote(workload.pod)}{container} -- {command}"


def share_process_namespace(workload: Workload) -> str:
    """Say how to turn shareProcessNamespace on."""
    owner = _controller(workload)
    if owner is None:
        return (
            f"`{_kubectl(workload)} get pod {quote(workload.pod)} -o yaml > pod.yaml`, "
            "add `shareProcessNamespace: true` under spec, "
            "then `kubectl replace --force -f pod.yaml`"
        )
    change = {"spec": {"template": {"spec": {"shareProcessNamespace": True}}}}
    return (
        f"`{_kubectl(workload)} patch {owner.kind.lower()} {quote(owner.name)} "
        f"-p {quote(json.dumps(change, separators=(',', ':')))}`"
    )


def _container_path(workload: Workload, part: str) -> str:
    if workload.container is None:
        return f"{{.spec.containers[*].{part}}}"
    return f'{{.spec.containers[?(@.name=="{workload.container}")].{part}}}'


def show_command(workload: Workload) -> str:
    """Show the command that replaces the image's entrypoint."""
    path = quote("jsonpath=" + _container_path(workload, "command"))
    return f"{_kubectl(workload)} get pod {quote(workload.pod)} -o {path}"


def show_probes(workload: Workload) -> str:
    """Show the probes and hooks of the container."""
    parts = ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
    text = "".join(_container_path(workload, part) for part in parts)
    return f"{_kubectl(workload)} get pod {quote(workload.pod)} -o {quote('jsonpath=' + text)}"


def probes(workload: Workload) -> str:
    """Say which commands the kubelet runs in the container; empty when none is known."""
    known = []
    for probe in workload.probes[:3]:
        command = cut(join(probe.command), _MAX_PROBE)
        shown = f"`{command}`" if _pasteable(command) else "a command"
        every = f" every {probe.period_seconds} s" if probe.period_seconds else ""
        within = f", timeout {probe.timeout_seconds} s" if probe.timeout_seconds else ""
        known.append(f"{probe.kind} runs {shown}{every}{within}")
    return f"This container's {'; '.join(known)}." if known else ""


def signal(process: Process, name: str, workload: Workload | None) -> str:
    """Send a signal to a process: through its pod, else on the node."""
    in_pod = workload is not None and not workload.host_pid and process.vpid is not None
    if workload is not None and in_pod and process.vpid != process.identity.pid:
        return inside(workload, f"kill -{name} {process.vpid}")
    return f"kill -{name} {process.identity.pid}"


def thaw(process: Process) -> str:
    """Say how to thaw the cgroup of a process."""
    path = process.cgroup_path
    if path is None or ".." in path or len(path) > _MAX_PATH or not _pasteable(path):
        return f"thaw the cgroup that /proc/{process.identity.pid}/cgroup names"
    return (
        f"`echo 0 > {quote('/sys/fs/cgroup' + path + '/cgroup.freeze')}` on the node "
        f"(cgroup v1: `echo THAWED > {quote('/sys/fs/cgroup/freezer' + path + '/freezer.state')}`)"
    )
