"""Waiting for what another process does."""

import time


def wait_for(condition, timeout_s=120):
    """Return what `condition` returns once it is true; fail where it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {timeout_s} s"
        time.sleep(0.2)
    return found
