"""`python -m tracer.doctor`: the command without the rest of the command line.

Needs nothing from PyPI, so it also runs in the guests of tests/kernels.
"""

import argparse
import sys

from tracer.commands import doctor


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tracer.doctor")
    subparsers = parser.add_subparsers(required=True)
    doctor.add_parser(subparsers)
    args = parser.parse_args(["doctor", *sys.argv[1:]])
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
