"""The cost of one reported zombie: its evidence, its cause and its log line."""

import time
from functools import partial

from figures import Figure, median
from work import holding


def measure(scale):
    from tracer.attribution.attributor import Attributor
    from tracer.clock import boot_ns, boot_to_wall_ns
    from tracer.diagnosis.evidence import Investigator
    from tracer.model import Record, Zombie
    from tracer.procfs.fs import ProcFs
    from tracer.procfs.identity import read_cgroup
    from tracer.procfs.zombie import read_zombie
    from tracer.render.document import zombie_document
    from tracer.sinks.json_line import json_line
    from tracer.sources.core.source import CoreSource

    rounds = 100 if scale.quick else 1000
    proc = ProcFs()
    source = CoreSource(min_age_ns=0)
    source.start()
    took = {"whose": [], "why": [], "line": []}
    try:
        with holding("storm", 20, 1) as (parent, _):
            snapshot = source.snapshot()
            children = [
                snapshot.child(index)
                for index, key in enumerate(snapshot.keys())
                if key[2] == parent.pid
            ]
            attributor = Attributor(partial(read_cgroup, proc), None, None)
            investigator = Investigator(proc, source)
            to_wall_ns = boot_to_wall_ns()
            for number in range(rounds):
                child = children[number % len(children)]
                now = boot_ns()
                zombie = Zombie(child, now, now, 19)
                began = time.perf_counter()
                attribution = attributor.attribute(child, child.parent_pid)
                attributed = time.perf_counter()
                finding = investigator.investigate(
                    zombie, attribution, now, 19, read_zombie(proc, child.identity)
                )
                found = time.perf_counter()
                record = Record(
                    zombie, 0, finding.parent, finding.waits, attribution, finding.cause
                )
                line = json_line(zombie_document(record, node_name="bench", to_wall_ns=to_wall_ns))
                took["line"].append(time.perf_counter() - found)
                took["why"].append(found - attributed)
                took["whose"].append(attributed - began)
    finally:
        source.close()
    us = {name: 1e6 * median(times) for name, times in took.items()}
    return [
        Figure("a zombie's container, from its cgroup", f"{us['whose']:.0f} µs"),
        Figure("… its evidence and cause", f"{us['why']:.0f} µs"),
        Figure("… its JSON line", f"{us['line']:.0f} µs", f"{len(line)} bytes"),
    ]
