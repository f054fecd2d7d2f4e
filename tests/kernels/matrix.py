"""Make one table of many conformance runs: scenario by source and kernel.

tests/kernels/run --output out -- python3 -m tests.conformance --source core --json
tests/kernels/run --output out --source bcc -- python3 -m tests.conformance --source bcc --json
python3 -m tests.conformance --json > out/this-machine.txt
tests/kernels/matrix.py out
"""

import json
import sys
from pathlib import Path

MARKS = {"ok": "✔", "failed": "✘", "skipped": "skipped"}


def main():
    """Print the table; return 1 when a scenario failed or a run left no results."""
    columns = {}
    for path in sorted(Path(sys.argv[1]).glob("*.txt"), key=lambda path: column_key(path.stem)):
        results = results_of(path.read_text())
        if results is None:
            print(f"{path}: no results in it", file=sys.stderr)
            return 1
        for source in sorted({source for row in results.values() for source in row}):
            column = f"{source} {path.stem.removesuffix('-core').removesuffix('-bcc')}"
            columns[column] = {scenario: row.get(source) for scenario, row in results.items()}
    scenarios = list(dict.fromkeys(name for column in columns.values() for name in column))
    print("| scenario | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for scenario in scenarios:
        cells = [MARKS.get(column.get(scenario), "") for column in columns.values()]
        print(f"| {scenario} | " + " | ".join(cells) + " |")
    return int(any("failed" in column.values() for column in columns.values()))


def column_key(stem):
    """Sort by kernel, oldest first; names that are no number come last."""
    label = stem.partition("-")[0]
    numbers = tuple(int(part) for part in label.split(".")) if label[0].isdigit() else (99,)
    return numbers, stem


def results_of(text):
    """Return the JSON object that a run printed last, None when there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    return None


if __name__ == "__main__":
    sys.exit(main())
