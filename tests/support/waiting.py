"""Waiting for what another process does, with a limit."""

import os
import select
import time
from typing import IO


def wait_for(condition, timeout_s=120):
    """Return what `condition` returns once it is true; fail where it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {timeout_s} s"
        time.sleep(0.2)
    return found


def wait_for_output(pipe: IO | None, wanted: bytes, timeout_s: float = 60) -> bytes:
    """Return what a process writes until this is there; fail where it ends, or is late."""
    assert pipe is not None
    said, deadline = b"", time.monotonic() + timeout_s
    while wanted not in said:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {wanted!r} after {timeout_s} s: {said!r}"
        read = os.read(pipe.fileno(), 4096)
        assert read, f"ended without {wanted!r}: {said!r}"
        said += read
    return said
