"""How much of the node this process can see: pid namespaces."""

from pathlib import Path

from tracer.procfs.fs import ProcFs

HOST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO, include/linux/proc_ns.h."""

_NODE_INITS = frozenset({"systemd", "init", "machined"})
_NODE_AGENTS = frozenset({"kubelet", "k3s", "k3s-server", "k3s-agent", "k0s", "rke2"})


def in_host_pid_namespace(root: Path = Path("/proc")) -> bool:
    """Return whether this process is in the initial pid namespace of the machine.

    Args:
        root: where proc is mounted.
    """
    try:
        return str((root / "self/ns/pid").readlink()) == HOST_PID_NAMESPACE
    except OSError:
        return True  # refused: nothing says otherwise


def visibility_problem(proc: ProcFs, root: Path = Path("/proc")) -> str | None:
    """Return why other pods' zombies cannot be seen; None when they can.

    A node may itself be a container (kind, k3d): its pid namespace is not the initial one
    and yet shows the whole node, including its init or its kubelet.
    """
    if in_host_pid_namespace(root):
        return None
    first = proc.stat(1)
    if first is not None and first.comm in _NODE_INITS:
        return None
    for pid in proc.pids():
        stat = proc.stat(pid)
        if stat is not None and stat.comm in _NODE_AGENTS:
            return None
    return (
        "the agent runs in its own PID namespace and cannot see other pods' zombies;"
        " set hostPID: true in its pod spec"
    )
