"""`offramp policy doctor` finds damage, and says what it could not see."""

import json
import socket
import subprocess
import sys
from typing import Any

from policy_state.store.redis.store import RedisStore
from tests.support.policy_cli import data


def test_doctor_finds_damage(store: RedisStore, offramp: Any) -> None:
    """A sound policy gives code 0, a damaged one code 4 and the place."""
    assert data(offramp("doctor", "--no-log", "-o", "json"))["healthy"] is True
    keys, _ = store.bound()
    store.server.command("HSET", keys.domain("books"), "1", "40 999 0")
    found = data(offramp("doctor", "--no-log", "-o", "json", code=4))
    assert [(f["check"], f["subject"]) for f in found["findings"]] == [("counters", "books")]


def test_doctor_does_not_call_healthy_what_it_could_not_see(
    store: RedisStore, redis_url: str
) -> None:
    """Without Kafka the log is a finding of its own, and the exit code is 1; --no-log is 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    args = ["policy", "doctor", "--redis-url", redis_url, "-b", nobody, "-o", "json"]
    args += ["--set", "kafka.request_timeout_s=1"]
    # In a separate process: a client that finds no broker leaves sockets open.
    found = subprocess.run(
        [sys.executable, "-m", "consumer", *args], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1, found.stderr
    assert "healthy" not in found.stderr
    told = json.loads(found.stdout)
    assert (told["healthy"], told["log_checked"]) == (False, False)
    assert [(f["severity"], f["check"]) for f in told["findings"]] == [("unknown", "log")]
