"""Run the conformance suite without pytest, as in a guest with nothing but Debian's python3.

    python3 -m tests.conformance                       every source that can start here
    python3 -m tests.conformance --source core         that one; failing to start is a failure
    python3 -m tests.conformance --source bcc exit_code dead_leader
    TRACER_CONFORMANCE_MIN_AGE=2 python3 -m tests.conformance
                                                       on a slow machine: an emulated guest takes
                                                       up to a second to report a release, and
                                                       by default 0.3 s makes a zombie

Called from the repository's root, as root. Needs tracer/ (with its BPF object for core, and
python3-bpfcc for bcc) and tests/conformance/, the standard library, /proc, and nothing else:
no compiler, no pytest, no package from PyPI.

Prints one line for each scenario and source, `ok`, `FAILED` or `skipped`, with what was wrong in
indented lines below it, and a last line with the counts. Exit status: 0 when nothing failed,
1 when something did, 2 for a wrong command line. --json also prints the table of results as one
JSON object at the end: {"SCENARIO": {"SOURCE": "ok" | "failed" | "skipped"}}.
"""

import argparse
import json
import sys

from . import facts
from .actors import SCENARIOS
from .harness import Session


def main():
    """Return the exit status."""
    options = parse_options()
    session = Session(options.source or facts.SOURCES, options.scenario or SCENARIOS, options.jobs)
    results = {}
    for result in session.run():
        results[result.scenario] = {
            watcher.name: result.result(watcher.name) for watcher in session.watchers
        }
        report(result)
    for name, losses in session.losses.items():
        print(f"{name}: {losses}")
    for name, why in session.failed.items():
        print(f"{'FAILED' if options.source else 'skipped':8}{name:6}cannot start: {why}")
    words = [word for row in results.values() for word in row.values()]
    counts = {word: words.count(word) for word in ("ok", "failed", "skipped")}
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    if options.json:
        print(json.dumps(results))
    bad = counts["failed"] or not counts["ok"] or (options.source and session.failed)
    return 1 if bad else 0


def parse_options():
    """Return the command line; a wrong one ends the program with status 2."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.conformance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--source", action="append", choices=facts.SOURCES, help="repeatable")
    parser.add_argument("--jobs", type=int, default=6, help="scenarios at a time")
    parser.add_argument("--json", action="store_true", help="print the results as JSON too")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; all by default")
    options = parser.parse_args()
    unknown = set(options.scenario) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown scenario: {', '.join(sorted(unknown))}")
    return options


def report(result):
    """Print what came of one scenario."""
    for name, problems in result.wrong.items():
        word = result.result(name).replace("failed", "FAILED")
        print(f"{word:8}{name:6}{result.scenario:20}{result.seconds:6.1f} s", flush=True)
        for problem in [result.skipped] if result.skipped else problems:
            print(f"        {problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
