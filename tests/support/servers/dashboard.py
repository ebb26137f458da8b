"""`offramp dashboard` as a process, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consumer.entry import own_command

_REPOSITORY = Path(__file__).parents[3]


@contextmanager
def dashboard(redis_url: str, *options: str) -> Iterator[str]:
    """Serve a dashboard; yields its address, without a slash at the end."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OFFRAMP_")}
    started = subprocess.Popen(
        own_command("dashboard", "--redis-url", redis_url, "--port", "0", *options),
        env={**ours, "PYTHONPATH": str(_REPOSITORY), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stderr is not None
    try:
        line = started.stderr.readline()
        found = re.fullmatch(r"serving (http://\S+)/\n", line)
        assert found is not None, line + started.stderr.read()
        yield found[1]
    finally:
        started.terminate()
        rest = started.communicate(timeout=30)[1]
    assert "Traceback" not in rest, rest
