"""Time from the start to the first line, and to the detection of an existing zombie."""

import resource
import subprocess
import sys
import time

import agent
from figures import Figure, median, spread, within
from machine import cpu_seconds
from work import holding


def measure(scale):
    rounds = 5 if scale.quick else 15
    lines, detections, cpu, bare = [], [], [], []
    with holding("zombies", 1, 1) as (process, _):
        del process
        time.sleep(1.2)  # older than the minimum age
        for _ in range(rounds):
            with agent.Agent() as one:
                arrival, _ = one.wait_for(lambda line: line["event"] == "agent_started", 30)
                lines.append(arrival - one.started)
                arrival, _ = one.wait_for(lambda line: line["event"] == "zombie_detected", 30)
                detections.append(arrival - one.started)
                cpu.append(cpu_seconds(one.pid))
            began = time.time()
            subprocess.run([sys.executable, "-c", "pass"], check=True)
            bare.append(time.time() - began)
    return [
        within(
            "start to first detection (core)",
            median(detections),
            "s",
            0.7,
            f"{spread(detections)}; python -c pass {median(bare):.3f}",
        ),
        Figure(
            "… to the first line", f"{median(lines):.2f} s", f"CPU until then {median(cpu):.2f} s"
        ),
        Figure("… start of bpftrace", "", _bpftrace(rounds)),
    ]


def _bpftrace(rounds):
    took, cpu = [], []
    for _ in range(min(rounds, 3)):
        began = time.time()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with agent.bpftrace() as process:
            if process is None:
                return ""
            took.append(time.time() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return f"attached after {median(took):.2f} s, CPU {median(cpu):.2f} s"
