"""`python -m tracer.doctor`: `tracer doctor` without the rest of the command line.

It needs nothing from PyPI, so it also runs in the guests of tests/kernels.
"""

import argparse
import sys

from tracer.commands import doctor
from tracer.errors import UsageError


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tracer.doctor")
    subparsers = parser.add_subparsers(required=True)
    doctor.add_parser(subparsers)
    args = parser.parse_args(["doctor", *sys.argv[1:]])
    try:
        status: int = args.run(args)
    except UsageError as error:
        parser.error(str(error))
    return status


if __name__ == "__main__":
    sys.exit(main())
