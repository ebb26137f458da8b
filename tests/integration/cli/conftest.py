"""A group of its own on a real Redis and Kafka, and the command line on it."""

import os
import socket
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from consumer.cli.app import app


@pytest.fixture
def nobody():
    """Return the address of a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def environ(redis_url, kafka):
    return {
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_KAFKA__GROUP": f"g{time.time_ns()}",
        "OFFRAMP_USER": "anna",
        "COLUMNS": "250",
    }


@pytest.fixture
def offramp(environ):
    """Return a function that runs a command and returns what came of it."""

    def run(*args, code=0, **more):
        result = CliRunner().invoke(app, args, env={**environ, **more})
        failed = 1 if result.exception and not isinstance(result.exception, SystemExit) else None
        assert (failed or result.exit_code) == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def in_a_process(environ):
    """Return one that uses a separate process: a client that finds no broker leaves sockets."""

    def run(*args, **more):
        return subprocess.run(
            [sys.executable, "-c", "from consumer.cli.app import main; main()", *args],
            env={**os.environ, **environ, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
