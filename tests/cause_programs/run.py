#!/usr/bin/env python3
"""Runs the cause programs and prints each case's diagnoses: the tables of docs/diagnosis-accuracy.md.

python tests/cause_programs/run.py --times 20 --source core
python tests/cause_programs/run.py --source proc --only 'pid 1'
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from cause_programs.cases import CASES, INIT, NEVER, NONE, SLOW, Case, machine
from cause_programs.sandbox import build_toolchain, sandbox
from cause_programs.watching import Seen, Watcher
from tracer.diagnosis.evidence import Finding
from tracer.model import Source
from tracer.procfs.fs import ProcFs

SECONDS = 12.5
"""The oldest zombies are then over ten seconds old, as at the agent's minimum age."""

LATE_SECONDS = 2.0
"""How long after the programs a late source starts."""


def make_source(name: str, proc: ProcFs) -> Source:
    """Construct a source with a minimum age of one second."""
    from tracer.sources.bcc.source import BccSource
    from tracer.sources.core.source import CoreSource
    from tracer.sources.proc.source import ProcSource

    if name == "core":
        return CoreSource(min_age_ns=10**9)
    return BccSource(proc, 10**9) if name == "bcc" else ProcSource(proc, 10**9)


@dataclass
class Score:
    """The diagnoses of one case over all runs: (code, confidence) to times."""

    young: Counter = field(default_factory=Counter)
    settled: Counter = field(default_factory=Counter)
    wrong: list[Finding] = field(default_factory=list)

    def add(self, case: Case, seen: Seen, *, blind: bool) -> None:
        for counter, findings in ((self.young, seen.young), (self.settled, seen.latest)):
            results = {result(finding) for finding in findings.values()} or {(NONE, "")}
            counter.update(results)
            self.wrong += [f for f in findings.values() if not is_right(case, f, blind=blind)]


def result(finding: Finding) -> tuple[str, str]:
    return finding.cause.code.value, finding.cause.confidence.value


def accepted(case: Case, *, blind: bool) -> set[str]:
    """Return the right causes; blind where not all forks and wait calls were observed."""
    return {*case.expected, *(case.blind if blind else ())}


def before_its_first_round(case: Case, finding: Finding) -> bool:
    """Return whether a slow reaper had reaped nothing yet: then its cause cannot be known."""
    slow = SLOW in case.expected and finding.waits is not None and not finding.waits.reaped
    return slow and result(finding) in {(NEVER, "possible"), (INIT, "possible")}


def is_right(case: Case, finding: Finding, *, blind: bool) -> bool:
    right = finding.cause.code.value in accepted(case, blind=blind)
    return right or before_its_first_round(case, finding)


def observe(
    cases: list[Case], source_name: str, *, late: bool, seconds: float, folder: Path
) -> dict[str, Seen]:
    """Run cases once, all together; late starts the source after the programs."""
    proc = ProcFs()
    source = make_source(source_name, proc)
    if not late:
        source.start()
    try:
        with sandbox(cases, build_toolchain(folder)) as running:
            if late:
                time.sleep(LATE_SECONDS)
                source.start()
            watcher = Watcher(source, proc, running)
            watcher.watch(0.5)
            running.after_start()
            watcher.watch(seconds)
            mean = watcher.seconds_in_diagnosis / max(1, watcher.diagnoses)
            print(f"# {watcher.diagnoses} diagnoses, {mean * 1e6:.0f} us each", file=sys.stderr)
            return watcher.seen
    finally:
        source.close()
        proc.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--source", default="core", choices=("core", "bcc", "proc"))
    parser.add_argument("--late", action="store_true", help="start the source after the programs")
    parser.add_argument("--only", default="", help="cases whose name has this text")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("-v", "--verbose", action="store_true", help="show evidence of misses")
    args = parser.parse_args()
    cases = [case for case in CASES if args.only in case.name and not case.missing()]
    blind = args.late or args.source != "core"
    scores = {case.name: Score() for case in cases}
    for _ in range(args.times):
        with tempfile.TemporaryDirectory(prefix="tracer-causes-") as folder:
            seen = observe(
                cases, args.source, late=args.late, seconds=args.seconds, folder=Path(folder)
            )
        for case in cases:
            scores[case.name].add(case, seen[case.name], blind=blind)
    print(f"{args.times} runs, source {args.source}{', late' * args.late}, {machine()}\n")
    print("| program | right | at 1 s | settled |\n|---|---|---|---|")
    for case in cases:
        score = scores[case.name]
        right = " or ".join(sorted(accepted(case, blind=blind)))
        print(f"| {case.name} | {right} | {shown(score.young)} | {shown(score.settled)} |")
    wrong = {case.name: scores[case.name].wrong for case in cases if scores[case.name].wrong}
    certain = sum(f.cause.confidence.value == "certain" for fs in wrong.values() for f in fs)
    print(f"\ncases with a wrong cause: {len(wrong)} of {len(cases)}; wrong and certain: {certain}")
    if args.verbose:
        for name, findings in wrong.items():
            for finding in findings[:3]:
                print(f"\n{name}: {' '.join(result(finding))}")
                print("\n".join(f"  - {line}" for line in finding.cause.evidence))
    return 1 if wrong else 0


def shown(counter: Counter) -> str:
    return ", ".join(
        f"{code} {sure} {times}".replace("  ", " ") for (code, sure), times in counter.most_common()
    )


if __name__ == "__main__":
    raise SystemExit(main())
