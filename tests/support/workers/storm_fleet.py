"""Workers of a storm, as processes that are killed, frozen and asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

import psutil

HUNG = -99  # in place of the exit code of a worker that did not end when it was asked to


class Fleet:
    """Worker processes with stable names."""

    def __init__(
        self,
        environ: dict[str, str],
        logs: Path,
        *,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._environ = environ
        self.own = dict(own or {})
        """Variables of single workers, from their next start on."""
        self._logs = logs
        self._begins: dict[str, int] = {}  # where in its log a worker's last start is
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, *, crash_at: str = "", after: int = 0, by: signal.Signals = signal.SIGKILL
    ) -> None:
        """Start a worker; with `crash_at` it ends itself at that step, or freezes by SIGSTOP."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._begins[name] = log.tell()
            self.running[name] = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(__file__).with_name("crashing_worker.py")),
                ],
                env={
                    **os.environ,
                    **self._environ,
                    **self.own.get(name, {}),
                    "OFFRAMP_INSTANCE": name,
                    "OMP_NUM_THREADS": "1",
                    "CRASH_AT": crash_at,
                    "CRASH_AFTER": str(after),
                    "CRASH_BY": by.name,
                    "PYTHONPATH": str(Path(__file__).parents[3]),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, name: str) -> None:
        """End a worker at once."""
        self.running[name].kill()
        self.running[name].wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal."""
        self.running[name].send_signal(number)

    def is_frozen(self, name: str) -> bool:
        """Return whether a worker stands still by SIGSTOP."""
        return psutil.Process(self.running[name].pid).status() == psutil.STATUS_STOPPED

    def stop(self, name: str, timeout_s: float = 40) -> int:
        """Ask a worker to end and return its exit code."""
        process = self.running.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return HUNG

    def close(self) -> None:
        """End all that still run."""
        for name in list(self.running):
            self.stop(name)

    def log(self, name: str) -> str:
        """Return what a worker has logged."""
        return (self._logs / f"{name}.log").read_text(errors="replace")

    def logged(self, name: str, what: str) -> bool:
        """Return whether a worker has logged something since its last start."""
        with (self._logs / f"{name}.log").open("rb") as log:
            log.seek(self._begins[name])
            return what.encode() in log.read()


def wait(condition, timeout_s: float) -> bool:
    """Return whether a condition comes to hold within the time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False
