"""The sources compared: start, memory, processor time at rest and at 1,000 exits a second.

    .venv/bin/python bench/sources.py [SECONDS]

As root. Also runs bcc's own exitsnoop, as a node's operator would, and says what came of it.
Every source runs in a process of its own, polled as the engine does, all against the same load.
"""

import json
import os
import resource
import select
import subprocess
import sys
import time

MIN_AGE_NS = 10 * 10**9
EXITS_A_SECOND = 1000


def measure(name, seconds):
    """Run one source in this process; print what it used as JSON."""
    began = time.monotonic()
    from tracer.clock import boot_ns
    from tracer.errors import TracerError
    from tracer.procfs.fs import ProcFs

    if name == "core":
        from tracer.sources.core.source import CoreSource

        source = CoreSource(min_age_ns=MIN_AGE_NS)
    elif name == "bcc":
        from tracer.sources.bcc.source import BccSource

        source = BccSource(ProcFs(), MIN_AGE_NS)
    else:
        from tracer.sources.proc.source import ProcSource

        source = ProcSource(ProcFs(), MIN_AGE_NS)
    try:
        source.start()
    except TracerError as error:
        print(json.dumps({"error": str(error)}))
        return
    zombies = sum(1 for _ in source.snapshot().keys())  # noqa: SIM118 - no mapping
    started = time.monotonic() - began
    rows = {"start_seconds": started, "zombies": zombies}
    for phase in ("rest", "load"):
        print(json.dumps({"ready": phase}), flush=True)
        sys.stdin.readline()
        used = time.process_time()
        end = boot_ns() + seconds * 10**9
        while (now := boot_ns()) < end:
            source.poll(now)
            source.losses()
            due = min(source.next_poll_boot_ns(now), end)
            fd = source.fileno()
            select.select([] if fd is None else [fd], [], [], max(0, due - boot_ns()) / 1e9)
        rows[f"cpu_{phase}_percent"] = (time.process_time() - used) / seconds * 100
    rows["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(rows), flush=True)


def load(seconds):
    """Make children that exit at once and are reaped, at most so many a second."""
    end = time.monotonic() + seconds
    made = 0
    began = time.monotonic()
    while time.monotonic() < end:
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(pid, 0)
        made += 1
        ahead = made / EXITS_A_SECOND - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
    return made / (time.monotonic() - began)


def main():
    """Print the table."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    names = ("core", "bcc", "proc")
    children = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--measure", name, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    }
    answers = {name: json.loads(child.stdout.readline()) for name, child in children.items()}
    alive = {name: child for name, child in children.items() if "error" not in answers[name]}
    for phase in ("rest", "load"):
        for child in alive.values():
            child.stdin.write("go\n")
            child.stdin.flush()
        if phase == "load":
            print(f"{load(seconds):.0f} exits a second")
        answers |= {name: json.loads(child.stdout.readline()) for name, child in alive.items()}
    columns = ("start_seconds", "rss_mb", "cpu_rest_percent", "cpu_load_percent")
    print(f"{'source':8}" + "".join(f"{column:>18}" for column in columns))
    for name in names:
        row = answers[name]
        cells = [f"{row[column]:18.2f}" for column in columns] if "error" not in row else [str(row)]
        print(f"{name:8}" + "".join(cells))
    stock = subprocess.run(
        ["timeout", "5", "exitsnoop-bpfcc"], capture_output=True, text=True, check=False
    )
    said = (stock.stdout + stock.stderr).strip().splitlines()
    print(f"exitsnoop-bpfcc: status {stock.returncode}: {said[-1] if said else 'nothing'}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]))
    else:
        main()
