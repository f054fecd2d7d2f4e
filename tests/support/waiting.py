"""Waiting for something with a deadline."""

import time


def until(condition, seconds=10.0, what=""):
    """Return the condition's value as soon as it is true; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds} s: {what or condition}")
        time.sleep(0.005)
