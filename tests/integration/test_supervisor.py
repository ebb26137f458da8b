"""Several workers of one machine under one supervisor."""

import os
import signal
import subprocess
import sys
import time

import psutil

from consumer.topics import create_topics
from policy_state.backends.redis import RedisStore
from tests.tiny_model import write_tiny_model


def wait_for(condition, timeout_s=60):
    """Return what `condition` returns once it is true; fail where it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true after {timeout_s} s"
        time.sleep(0.2)
    return found


def test_a_killed_worker_is_started_again_and_a_signal_ends_all(kafka, redis_url, tmp_path):
    """Two workers run under their own names, one that is killed comes back, SIGTERM ends both."""
    prefix = f"v{time.time_ns()}"
    create_topics(kafka, {f"{prefix}.a": 2, "offramp.predictions": 1, "offramp.dead-letters": 1})
    environ = {
        "OFFRAMP_KAFKA__SESSION_TIMEOUT_S": "6",
        "OFFRAMP_ROUTES": f'[{{"topics": "{prefix}.a"}}]',
        "OFFRAMP_MODEL__PATH": str(write_tiny_model(tmp_path / "model")),
    }
    options = ["-b", kafka, "--redis-url", redis_url, "--processes", "2", "--instance", "w"]
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "consumer", "worker", *options, "--group", prefix],
        env={**os.environ, **environ},
        stderr=subprocess.DEVNULL,
    )
    try:
        with RedisStore(redis_url) as store:
            wait_for(lambda: store.workers().keys() == {"w-0", "w-1"})
            first = int(store.workers()["w-0"]["pid"])
            os.kill(first, signal.SIGKILL)
            wait_for(lambda: int(store.workers().get("w-0", {"pid": first})["pid"]) != first)
            pids = [int(worker["pid"]) for worker in store.workers().values()]
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(40) == 0
        assert not any(map(psutil.pid_exists, pids))
    finally:
        supervisor.kill()
        supervisor.wait()
