"""Reads the facts that the checks need. Nothing here changes the machine."""

import importlib
import os
import resource
import time
from pathlib import Path

from tracer.doctor import bpf_checks, capabilities, node_checks, proc_checks
from tracer.doctor.check import Check
from tracer.doctor.own_cgroup import memory_limit
from tracer.errors import PermanentError
from tracer.procfs.fs import ProcFs
from tracer.sources.bcc.tracefs import mounted, with_tracefs

_BTF = Path("/sys/kernel/btf/vmlinux")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
_CGROUPS_READ = 5_000
"""Processes whose cgroup is read to find a pod; a node with pods has one among the first."""
_INSPECTED = 50
_KTHREADD = 2


def kernel() -> Check:
    """Check the kernel's release and lockdown mode."""
    uname = os.uname()
    try:
        lockdown = bpf_checks.parse_lockdown(_LOCKDOWN.read_text())
    except OSError:
        lockdown = None
    return bpf_checks.kernel(uname.release, uname.machine, lockdown)


def btf() -> Check:
    """Check the kernel's type information."""
    try:
        return bpf_checks.btf(_BTF.stat().st_size)
    except OSError:
        return bpf_checks.btf(None)


def own_capabilities() -> list[Check]:
    """Check our own capabilities, in our own /proc, whatever --proc-root is."""
    effective = _effective()
    whole = capabilities.check(effective, _link("/proc/self/ns/user"), os.geteuid())
    return [whole, *capabilities.check_each(effective)]


def seccomp(*, core_refused: bool) -> Check:
    """Check our own seccomp filter."""
    filtered = capabilities.parse_seccomp(Path("/proc/self/status").read_bytes())
    return capabilities.seccomp(
        filtered=filtered, effective=_effective(), core_refused=core_refused
    )


def memory(source: str | None) -> Check:
    """Check the memory limit of our own cgroup."""
    own = Path("/proc/self/cgroup").read_bytes()
    return node_checks.memory(memory_limit(own, os.getpid()), source)


def pid_namespace(procfs: ProcFs) -> Check:
    """Check our own pid namespace and that of the proc root."""
    thread = _stat_comm(procfs, _KTHREADD)
    return proc_checks.pid_namespace(
        _link("/proc/self/ns/pid"), sees_kernel_threads=thread == "kthreadd"
    )


def clock() -> Check:
    """Check the boot clock and the wall clock."""
    return proc_checks.clock(_link("/proc/self/ns/time"), time.time())


def proc(procfs: ProcFs) -> Check:
    """Check the proc root."""
    root = str(procfs.root)
    try:
        procfs.fd()
    except PermanentError as error:
        return proc_checks.proc(root, str(error).partition(";")[0], None, sees_init=False)
    try:
        hidepid = proc_checks.parse_hidepid(Path("/proc/self/mountinfo").read_bytes(), root)
    except OSError:
        hidepid = None
    return proc_checks.proc(root, None, hidepid, sees_init=procfs.stat(1) is not None)


def inspection(procfs: ProcFs) -> Check:
    """Try to inspect processes of other users; for our own it would need no right."""
    own = os.geteuid()
    tried = []
    for pid in procfs.pids():
        status = procfs.status(pid)
        if pid != os.getpid() and status and (own == 0 or status.uid != own):
            tried.append(procfs.may_inspect(pid))
        if len(tried) == _INSPECTED:
            break
    return proc_checks.inspection(len(tried), sum(allowed is False for allowed in tried))


def cgroups(procfs: ProcFs, *, core_works: bool) -> Check:
    """Check the cgroups of pid 1 and of pods."""
    drivers = set()
    for pid in procfs.pids()[:_CGROUPS_READ]:
        driver = node_checks.cgroup_driver(procfs.cgroup(pid) or b"")
        if driver:
            drivers.add(driver)
            break
    return node_checks.cgroups(
        node_checks.cgroup_version(procfs.cgroup(1)), drivers, core_works=core_works
    )


def tracefs(*, core_works: bool) -> Check:
    """Try to read the scheduler's tracepoints, as the bcc source would: with a mount of its own."""
    found = mounted()
    if found is not None:
        return bpf_checks.tracefs(f"readable at {found}", core_works=core_works)
    try:
        with_tracefs(str)
    except (PermanentError, OSError):
        return bpf_checks.tracefs(None, core_works=core_works)
    return bpf_checks.tracefs(
        "not mounted; the bcc source mounts it in a namespace of its own", core_works=core_works
    )


def bcc(*, core_works: bool) -> Check:
    """Import bcc: its library may be missing where its Python package is there."""
    try:
        module = importlib.import_module("bcc")
    except (ImportError, OSError) as error:
        return bpf_checks.bcc(None, str(error), core_works=core_works)
    return bpf_checks.bcc(getattr(module, "__version__", "unknown"), None, core_works=core_works)


def memlock(*, core_refused: bool) -> Check:
    """Check the limit of locked memory and our right to raise it."""
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return bpf_checks.memlock(
        None if limit == resource.RLIM_INFINITY else limit,
        os.uname().release,
        may_raise=capabilities.has(_effective() or 0, capabilities.SYS_RESOURCE),
        core_refused=core_refused,
    )


def limits(procfs: ProcFs) -> Check:
    """Check how many of the node's process ids are in use."""
    threads_max = procfs.read("sys/kernel/threads-max")
    used = node_checks.parse_tasks(procfs.read("loadavg") or b"")
    return node_checks.limits(procfs.pid_max(), int(threads_max) if threads_max else None, used)


def state_dir(path: Path | None) -> Check:
    """Check that the state folder, or the one it would be made in, can be written."""
    if path is None:
        return node_checks.state_dir("none", None)
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return node_checks.state_dir(str(path), *_why_not_writable(folder))


def _why_not_writable(folder: Path) -> tuple[str | None, str | None]:
    """Return why files cannot be made in a folder, and what to do; None twice when they can."""
    if not folder.is_dir():
        return f"{folder} is not a folder", "remove it, or name another folder with --state-dir"
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        error = f"{folder} is on a read-only file system"
        return error, "mount a folder of the host there, without readOnly"
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        owner = folder.stat()
        mode = f"uid {owner.st_uid}, mode {owner.st_mode & 0o7777:04o}"
        error = f"{folder} belongs to {mode}, and this is uid {os.geteuid()}"
        return error, "run as that uid (root in the DaemonSet), or name another --state-dir"
    return None, None


def _effective() -> int | None:
    return capabilities.parse_effective(Path("/proc/self/status").read_bytes())


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None


def _stat_comm(procfs: ProcFs, pid: int) -> str | None:
    stat = procfs.stat(pid)
    return stat.comm if stat else None
