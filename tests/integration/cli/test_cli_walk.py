"""Every command with hostile values: a code and a message, never a traceback, never a hang."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli_walk import commands, flag
from tests.support.long_form import IS_LONG

REPOSITORY = Path(__file__).parents[3]
AWAY = {
    "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "OFFRAMP_REDIS__URL": "redis://127.0.0.1:1/0",
}


def walk(folder: Path, services: dict[str, str], *args: str) -> list[str]:
    """Return what broke, a line each; every command is run in one process of its own."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OFFRAMP_")}
    (folder / "in").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.cli_walk", *args],
        cwd=folder / "in",
        env={
            **ours,
            **services,
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "200",
            "HF_HUB_OFFLINE": "1",
            "OFFRAMP_KAFKA__REQUEST_TIMEOUT_S": "0.05" if services is AWAY else "5",
            "OFFRAMP_REDIS__TIMEOUT_S": "0.1" if services is AWAY else "2",
            "OFFRAMP_WORKER__GIVE_UP_S": "0.1",
            "OFFRAMP_MODEL__PATH": "missing",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert " tried in " in done.stderr
    return done.stdout.splitlines()


def test_no_value_of_any_option_ends_in_a_traceback(tmp_path: Path) -> None:
    """With Kafka and Redis away, every argument and option of every command takes what comes."""
    assert walk(tmp_path, AWAY) == []


@pytest.mark.skipif(not IS_LONG, reason="every value with real servers, in `make chaos` only")
def test_no_value_ends_in_a_traceback_where_the_servers_answer(
    tmp_path: Path, kafka: str, redis_url: str
) -> None:
    """The same with every value, on a real Kafka and a real Redis."""
    there = {"OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka, "OFFRAMP_REDIS__URL": redis_url}
    assert walk(tmp_path, there, "--all") == []


def test_every_number_has_bounds() -> None:
    """A number that no machine can work with is refused before anything is done with it."""
    for words, params in commands():
        for param in params:
            kind = param.type_descriptor.annotation
            if flag(param) or kind not in {int, float}:
                continue
            assert None not in (param.min, param.max), (words, param.name)
