"""Tests that need something of the kernel: skipped without it, failed where it is required."""

import os

import pytest


def require(condition: object, reason: str) -> None:
    """Skip the test when the condition is false; fail it when TRACER_REQUIRE_KERNEL=1."""
    if condition:
        return
    if os.environ.get("TRACER_REQUIRE_KERNEL") == "1":
        pytest.fail(f"{reason} (TRACER_REQUIRE_KERNEL=1)")
    pytest.skip(f"{reason}; TRACER_REQUIRE_KERNEL=1 makes this a failure")
