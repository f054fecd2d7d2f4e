"""What each capability is worth: every source started without it, in a real run.

    sudo tests/kernels/capabilities.py            # on this kernel
    tests/kernels/run -v -- python3 tests/kernels/capabilities.py

A tenant (uid 1234) forks a child that exits with 42 and is not waited for. A probe
(uid 65534 with only the capabilities of the row) starts one source, and must tell
that child's facts. A dash stands for a fact that it could not tell.
"""

import ctypes
import json
import os
import resource
import select
import subprocess
import sys
import time

MEMLOCK = "unlimited RLIMIT_MEMLOCK"
BITS = {
    "DAC_READ_SEARCH": 2,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_RESOURCE": 24,
    "PERFMON": 38,
    "BPF": 39,
}
SETS = {
    "core": (
        ("BPF", "PERFMON", "SYS_PTRACE"),
        ("PERFMON", "SYS_PTRACE"),
        ("BPF", "SYS_PTRACE"),
        ("BPF", "PERFMON"),
        (),
        ("SYS_ADMIN",),
        ("BPF", "PERFMON", "SYS_PTRACE", "SYS_RESOURCE"),
        ("BPF", "PERFMON", "SYS_PTRACE", MEMLOCK),
    ),
    "bcc": (
        ("BPF", "PERFMON", "SYS_PTRACE"),
        ("BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"),
        ("BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_RESOURCE"),
        ("SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_RESOURCE"),
    ),
    "proc": (("SYS_PTRACE",), ()),
}
TENANT_UID, PROBE_UID, EXIT_CODE = 1234, 65534, 42
START_SECONDS, SEE_SECONDS = 150, 60
POD = "/sys/fs/cgroup/kubepods.slice/kubepods-besteffort.slice"
FACTS = ("exit_time", "exit_code", "uid", "parent_path", "forker", "cgroup", "waits")

TENANT = f"""
import os, sys
while sys.stdin.readline():
    pid = os.fork()
    if not pid:
        os._exit({EXIT_CODE})
    print(pid, flush=True)
    sys.stdin.readline()
    os.waitpid(pid, 0)
"""


def become(uid, names):
    """Turn this process (root's) into that user with only those capabilities, also over exec."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prctl(*arguments):
        if (
            libc.prctl(
                *(ctypes.c_ulong(each) for each in (*arguments, *[0] * (5 - len(arguments))))
            )
            < 0
        ):
            raise OSError(ctypes.get_errno(), f"prctl{arguments}")

    if MEMLOCK in names:
        resource.setrlimit(
            resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
    names = [name for name in names if name != MEMLOCK]
    mask = sum(1 << BITS[name] for name in names)
    prctl(8, 1)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    if libc.capset(header, data) < 0:
        raise OSError(ctypes.get_errno(), "capset")
    for name in names:
        prctl(47, 2, BITS[name])  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE


def probe(source_name, parent_pid):
    """Run as the probe: start a source, say so, await the tenant's zombie, print its facts."""
    from tracer.clock import NS, boot_ns
    from tracer.errors import TracerError
    from tracer.model import Child, Identity
    from tracer.procfs.fs import ProcFs

    procfs = ProcFs()
    source = make(source_name, procfs, NS // 10)
    try:
        source.start()
    except TracerError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    print("started", flush=True)
    deadline = time.monotonic() + SEE_SECONDS
    while time.monotonic() < deadline:
        for seen in source.poll(boot_ns()):
            if isinstance(seen, Child) and seen.parent_pid == parent_pid:
                stat = procfs.stat(parent_pid)
                waits = source.waits(Identity(parent_pid, stat.start_ticks))
                facts = {
                    "exit_time": seen.exit_boot_ns is not None,
                    "exit_code": seen.exit_status == EXIT_CODE << 8,
                    "uid": seen.uid == TENANT_UID,
                    "parent_path": procfs.executable(parent_pid) is not None,
                    "forker": seen.forker is not None,
                    "cgroup": seen.cgroup is not None,
                    "waits": waits is not None,
                    "wrong_code": seen.exit_status not in (None, EXIT_CODE << 8),
                }
                print(json.dumps(facts), flush=True)
                source.close()
                return
        time.sleep(0.05)
    print(json.dumps({"error": f"the zombie was not seen in {SEE_SECONDS} s"}), flush=True)


def make(name, procfs, min_age_ns):
    if name == "core":
        from tracer.sources.core.source import CoreSource

        return CoreSource(min_age_ns=min_age_ns, map_entries=1024)
    if name == "bcc":
        from tracer.sources.bcc.source import BccSource

        return BccSource(procfs, min_age_ns)
    from tracer.sources.proc.source import ProcSource

    return ProcSource(procfs, min_age_ns)


def line_of(process, seconds):
    if not select.select([process.stdout], [], [], seconds)[0]:
        return json.dumps({"error": f"no answer in {seconds} s"})
    return process.stdout.readline().strip()


def tenant_begins():
    """Go into a cgroup with a pod's name, where v2 is alone, and become the tenant."""
    if os.path.exists("/sys/fs/cgroup/cgroup.procs"):
        os.makedirs(POD, exist_ok=True)
        with open(f"{POD}/cgroup.procs", "w") as members:
            members.write("0")
    become(TENANT_UID, ())


def one_run(source, names):
    """Return the facts that a probe with those capabilities printed, or {"error": …}."""
    tenant = subprocess.Popen(
        [sys.executable, "-c", TENANT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        preexec_fn=tenant_begins,  # noqa: PLW1509 - one thread
    )  # fmt: skip
    try:
        watcher = subprocess.Popen(
            [sys.executable, __file__, "--probe", source, str(tenant.pid)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            preexec_fn=lambda: become(PROBE_UID, names),  # noqa: PLW1509
        )  # fmt: skip
    except subprocess.SubprocessError:
        tenant.kill()
        tenant.wait()
        return {"error": "this machine does not have that capability to give"}
    try:
        said = line_of(watcher, START_SECONDS)
        if said == "started":
            tenant.stdin.write("fork\n")
            line_of(tenant, SEE_SECONDS)
            said = line_of(watcher, SEE_SECONDS + 5)
        return json.loads(said) if said else {"error": "the probe died"}
    finally:
        for process in (watcher, tenant):
            process.kill()
            process.wait()


def main():
    """Print a row for each source and set of capabilities."""
    if sys.argv[1:2] == ["--probe"]:
        probe(sys.argv[2], int(sys.argv[3]))
        return 0
    wanted = sys.argv[1:] or list(SETS)
    print(f"Linux {os.uname().release}")
    print("| source | capabilities | " + " | ".join(FACTS) + " |")
    print("|---" * (len(FACTS) + 2) + "|")
    for source in wanted:
        for names in SETS[source]:
            facts = one_run(source, names)
            held = ", ".join(names) or "none"
            if "error" in facts:
                print(
                    f"| {source} | {held} | cannot start: {facts['error'].partition('; ')[0][:300]} |",
                    flush=True,
                )
                continue
            cells = ["✔" if facts[name] else "-" for name in FACTS]
            if facts["wrong_code"]:
                cells[FACTS.index("exit_code")] = "WRONG"
            print(f"| {source} | {held} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
