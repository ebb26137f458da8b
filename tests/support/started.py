"""Workers that a test starts as processes, each with a log of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Worker = tuple[subprocess.Popen[bytes], Callable[[], str]]


@contextmanager
def workers(folder: Path, **shared: str) -> Iterator[Callable[..., Worker]]:
    """Yield what starts a worker and returns its process and what reads its log; all end with it.

    Args:
        folder: For their logs.
        shared: Settings of all of them, by their variables without the prefix.
    """
    started: list[subprocess.Popen[bytes]] = []

    def run(module: str, **settings: str) -> Worker:
        environ = {f"OFFRAMP_{name}": value for name, value in {**shared, **settings}.items()}
        log = folder / f"{len(started)}.log"
        with log.open("wb") as to:
            process = subprocess.Popen(
                [sys.executable, "-m", module], env={**os.environ, **environ}, stderr=to
            )
        started.append(process)
        return process, log.read_text

    try:
        yield run
    finally:
        for process in started:
            process.kill()
            process.wait()
