"""Several workers of one machine under one supervisor."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from policy_state.store.redis.store import RedisStore
from tests.support.long_form import IS_LONG
from tests.support.tiny_model import write_tiny_model
from tests.support.topics import create_topics
from tests.support.waiting import wait_for


@pytest.fixture
def run(kafka, redis_url, tmp_path):
    """Return what starts a supervisor of two workers."""
    group, started = f"v{time.time_ns()}", []
    create_topics(kafka, {f"{group}.a": 2, "offramp.predictions": 1, "offramp.dead-letters": 1})
    model = write_tiny_model(tmp_path / "model")

    def start(stderr=None, **environ):
        settings = {
            "OFFRAMP_KAFKA__SESSION_TIMEOUT_S": "6",
            "OFFRAMP_ROUTES": f'[{{"topics": "{group}.a"}}]',
            "OFFRAMP_MODEL__PATH": str(model),
        }
        options = ["-b", kafka, "--redis-url", redis_url, "--group", group]
        command = [sys.executable, "-m", "consumer", "worker", *options]
        with (tmp_path / "log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    [*command, "--processes", "2", "--instance", "w"],
                    env={**os.environ, **settings, **environ},
                    stderr=stderr or log,
                )
            )
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.kill()
        supervisor.wait()


def pids(redis_url):
    """Return the process of each worker, once there are two."""
    with RedisStore(redis_url) as store:
        wait_for(lambda: store.workers().keys() == {"w-0", "w-1"})
        return {name: int(worker["pid"]) for name, worker in store.workers().items()}


def ended(pid):
    """Say whether a process is no more, or waits for nothing but that it is asked how it ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_killed_worker_is_started_again_and_a_signal_ends_all(run, redis_url, tmp_path):
    """Two workers run under their own names, one that is killed comes back, SIGTERM ends both.

    Each of their lines says whose it is, to the last one.
    """
    supervisor = run()
    first = pids(redis_url)
    os.kill(first["w-0"], signal.SIGKILL)
    wait_for(lambda: pids(redis_url)["w-0"] != first["w-0"])
    second = pids(redis_url)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(40) == 0
    assert all(map(ended, second.values()))
    written = (tmp_path / "log").read_text().splitlines()
    assert {line.split()[0] for line in written if " offramp.worker " in line} <= {"w-0", "w-1"}
    for name in ("w-0", "w-1"):
        assert any(line.startswith(f"{name} | ") and " started " in line for line in written)
    assert sum(line.startswith("w-0 | ") and " stopped " in line for line in written) == 1


def test_a_fleet_whose_lines_nobody_reads_goes_on(run, redis_url):
    """With a full pipe for stderr a killed worker is started again and a signal ends all."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, bytes(4096)):
            pass
    os.set_blocking(writer, True)
    supervisor = run(stderr=writer)
    first = pids(redis_url)
    os.kill(first["w-0"], signal.SIGKILL)
    wait_for(lambda: pids(redis_url)["w-0"] != first["w-0"])
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(40) == 0
    os.close(reader)
    os.close(writer)


def test_a_second_signal_kills_a_worker_that_hangs(run, redis_url):
    """The first one lets the other worker finish."""
    supervisor = run()
    workers = pids(redis_url)
    hanging = workers["w-0"]
    os.kill(hanging, signal.SIGSTOP)
    supervisor.send_signal(signal.SIGTERM)
    wait_for(lambda: ended(workers["w-1"]))
    assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(40) == signal.SIGKILL
    assert ended(hanging)


@pytest.mark.skipif(not IS_LONG, reason="a quarter of a minute, in `make chaos` only")
def test_a_worker_that_does_not_finish_in_time_is_killed(run, redis_url):
    """So that a supervisor ends after one signal, whatever its workers do."""
    supervisor = run(OFFRAMP_WORKER__DRAIN_S="1")
    hanging = pids(redis_url)["w-0"]
    os.kill(hanging, signal.SIGSTOP)
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(60) == signal.SIGKILL
    assert ended(hanging)


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells a child of that")
def test_workers_of_a_killed_supervisor_finish(run, redis_url):
    """They do not continue under names that the next supervisor gives to its own."""
    supervisor = run()
    workers = pids(redis_url).values()
    supervisor.kill()
    wait_for(lambda: all(map(ended, workers)))


def test_a_worker_that_keeps_ending_is_started_less_and_less_often(tmp_path):
    """The pause grows from start to start."""
    code = (
        "from consumer.process.supervisor import run_supervisor as run;"
        "from consumer.settings.load import Settings;"
        "run(['no-such-command'], processes=1, settings=Settings(instance='w'))"
    )
    log = tmp_path / "log"
    with log.open("wb") as to:
        supervisor = subprocess.Popen([sys.executable, "-c", code], stderr=to)
    try:
        wait_for(lambda: log.read_text().count("worker ended") >= 3)
    finally:
        supervisor.kill()
        supervisor.wait()
    pauses = re.findall(r"worker ended instance=w-0 code=2 pause_s=(\S+)", log.read_text())
    assert pauses[:3] == ["0.5", "1.0", "2.0"]
