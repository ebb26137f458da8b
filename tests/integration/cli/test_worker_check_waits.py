"""`offramp worker --check --wait`, as an init container runs it, before its services are there."""

import json
import os
import subprocess
import sys

import tomli_w

from deploy.local.process import free_port
from deploy.local.redis_server import RedisServer, find_redis
from tests.support.waiting import wait_for
from tests.support.workers.surroundings import World


def begun(world, folder, *options):
    """Return a check that runs, and what reads its log."""
    config, log = folder / "offramp.toml", folder / "log"
    config.write_text(tomli_w.dumps(world.options))
    command = [sys.executable, "-m", "consumer", "worker", "--check", "-o", "json", *options]
    with log.open("w") as to:
        check = subprocess.Popen(
            [*command, "--config", str(config), "--instance", "a"],
            stdout=subprocess.PIPE,
            stderr=to,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    return check, log.read_text


def failed(check):
    """Return the names of the checks that a check reports as failed."""
    said, _ = check.communicate(timeout=60)
    return [found["check"] for found in json.loads(said)["checks"] if not found["ok"]]


def test_a_service_that_comes_late_fails_no_check(secured, redis_url, model_folder, tmp_path):
    """With --wait the check says what it waits for, and ends with 0 once Redis is there."""
    world = World(secured, redis_url, model_folder)
    program = find_redis("auto")
    assert program is not None
    with RedisServer(program, port=free_port()) as server:
        world.options["redis"] = {"url": server.url}
        check, log = begun(world, tmp_path, "--wait")
        wait_for(lambda: f"waiting for Redis at {server.url} waited_s=2" in log())
        assert check.poll() is None
        server.start()
        assert failed(check) == []
        assert check.returncode == 0


def test_waiting_has_an_end(secured, redis_url, model_folder, tmp_path):
    """After worker.give_up_s it reports what does not answer, as it does without --wait."""
    world = World(secured, redis_url, model_folder)
    address = f"127.0.0.1:{free_port()}"
    world.options["redis"] = {"url": f"redis://{address}/0"}
    world.options["worker"] = {"give_up_s": 3}
    code, found = world.check(tmp_path)
    assert (code, found["redis"]["ok"]) == (4, False)
    waits, log = begun(world, tmp_path, "--wait")
    assert (failed(waits), waits.returncode) == (["redis"], 4)
    assert f"gives up on Redis at redis://{address}/0 after worker.give_up_s=3" in log()
