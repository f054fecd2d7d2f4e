"""Measure the agent's cost on this machine, next to what a user would run instead.

  make bench                                    everything but the large ones
  .venv/bin/python bench/run.py --quick         the same in a minute or two, coarser
  .venv/bin/python bench/run.py --only hooks    one of them; repeatable
  .venv/bin/python bench/run.py --large         also 300,000 zombies (4 GB of memory)
  .venv/bin/python bench/run.py --million       also a million (12 GB)

Needs root. The alternatives are measured where they are installed
(Debian: libbpf-tools bpftrace prometheus-node-exporter python3-psutil).
--large and --million raise pid_max and threads-max, and restore them when the zombies are
gone, also when interrupted.
Figures are medians of alternating runs; on a shared machine compare ratios only.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from typing import NamedTuple

from figures import table

MEASUREMENTS = (
    "hooks",
    "throughput",
    "cpu",
    "memory",
    "startup",
    "latency",
    "snapshot",
    "storm",
    "enrich",
    "million",
)


class Scale(NamedTuple):
    """How much to measure.

    Attributes:
        quick: fewer and shorter rounds.
        snapshot_sizes: numbers of zombies.
        million: how many a million is; 0 to leave it out.
    """

    quick: bool
    snapshot_sizes: tuple[int, ...]
    million: int


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME")
    parser.add_argument("--large", action="store_true", help="also 300,000 zombies")
    parser.add_argument("--million", action="store_true", help="also a million zombies")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it loads BPF programs: run it as root")
    sizes = (1000, 10_000) if args.quick else (1000, 5000, 10_000)
    scale = Scale(
        args.quick,
        (*sizes, 300_000) if args.large else sizes,
        1_000_000 if args.million else 0,
    )
    print(
        f"Linux {platform.release()} {platform.machine()}, {os.cpu_count()} processors,"
        f" load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    report, failed = {}, False
    for name in args.only or MEASUREMENTS:
        began = time.monotonic()
        try:
            figures = importlib.import_module(name).measure(scale)
        except (RuntimeError, OSError) as error:
            print(f"\n{name}: failed: {error}", file=sys.stderr)
            failed = True
            continue
        report[name] = [figure._asdict() for figure in figures]
        print(f"\n{name} ({time.monotonic() - began:.0f} s)\n{table(figures)}", flush=True)
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=1, ensure_ascii=False)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
