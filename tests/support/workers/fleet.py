"""Worker processes that share one configuration, and the topics they read."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson

DOMAINS = ("films", "hotels", "news", "zürich+food")


def topic_of(prefix, domain):
    return f"{prefix}.{DOMAINS.index(domain)}"


class Fleet:
    """Worker processes with one configuration."""

    def __init__(self, environ: dict[str, str], logs: Path, prefix: str = "") -> None:
        self.environ = environ
        self.prefix = prefix
        self.logs = logs
        self.running: dict[str, subprocess.Popen] = {}

    def start(self, name: str, module: str = "consumer") -> subprocess.Popen:
        with (self.logs / f"{name}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(
                [sys.executable, "-m", module, "worker"],
                env={
                    **os.environ,
                    **self.environ,
                    "OFFRAMP_INSTANCE": name,
                    "OMP_NUM_THREADS": "1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.running[name]

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for process in self.running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def offramp_json(fleet, *args):
    """Return what a command prints."""
    result = subprocess.run(
        [sys.executable, "-m", "consumer", *args, "-o", "json"],
        env={**os.environ, **fleet.environ},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return orjson.loads(result.stdout)
