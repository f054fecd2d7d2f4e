"""`python -m tracer`."""

import sys

from tracer.client import main

sys.exit(main())
