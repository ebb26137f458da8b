"""`/live` and `/ready` of a worker: under load, without Redis, without a broker, as it ends."""

import os
import signal
import socket
import subprocess
import sys

import psutil
import pytest

from deploy.local.process import free_port
from deploy.local.services import start_kafka
from tests.support.kafka_records import good, send
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.figures import Port
from tests.support.workers.fleet import topic_of

HANGING_WORKER = "tests.support.workers.hanging_worker"  # it starts without torch


@pytest.fixture
def port(fleet):
    """The port of the worker that a test starts."""
    number = free_port()
    fleet.environ["OFFRAMP_METRICS__PORT"] = str(number)
    return Port(number)


def health(port):
    """Return the answers to both probes."""
    return port.status("/live"), port.status("/ready")


def test_a_worker_is_live_from_the_start_and_ready_once_it_has_joined(fleet, port):
    """No broker answers at first: it lives, says what it waits for, and is ready when there is one.

    Other paths are not found.
    """
    with start_kafka() as broker:
        broker.pause()
        fleet.environ["OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"] = broker.address
        fleet.start("a", HANGING_WORKER)
        wait_for(lambda: port.get("/ready") == (503, "a: connects to Kafka\n"))
        assert port.get("/live") == (200, "ok\n")
        broker.resume()
        create_topics(broker.address, {topic_of(fleet.prefix, "films"): 1})
        wait_for(lambda: port.get("/ready") == (200, "ok\n"))
        assert port.status("/elsewhere") == 404


def test_a_worker_that_waits_for_redis_lives_however_long_that_takes(fleet, port, server):
    """Each attempt counts as a turn, so a probe does not restart it; it begins with the server."""
    server.kill()
    fleet.environ |= {
        "OFFRAMP_REDIS__URL": server.url,
        "OFFRAMP_REDIS__TIMEOUT_S": "1",
        "OFFRAMP_WORKER__STUCK_S": "5",
    }
    fleet.start("a", HANGING_WORKER)
    waits = f"waiting for Redis at {server.url} waited_s="
    wait_for(lambda: fleet.log("a").count(waits) == 2)  # after 2 s, and then every 15 s
    assert port.get("/live") == (200, "ok\n")
    assert port.get("/ready") == (503, "a: connects to Redis\n")
    server.restart()
    wait_for(lambda: health(port) == (200, 200))


def test_without_redis_a_worker_stays_ready_and_says_that_it_is_degraded(
    fleet, port, kafka, server
):
    """Predictions go on, so nobody is to replace it; the figures say what is held meanwhile."""
    fleet.environ["OFFRAMP_REDIS__URL"] = server.url
    fleet.start("a", HANGING_WORKER)
    wait_for(lambda: health(port) == (200, 200))
    send(kafka, topic_of(fleet.prefix, "films"), good())
    wait_for(lambda: port.of("offramp_records_total", outcome="predicted") == 300)
    assert port.total("offramp_degraded") == 0
    server.pause()
    send(kafka, topic_of(fleet.prefix, "films"), good(first=300))
    wait_for(lambda: port.of("offramp_records_total", outcome="predicted") == 600)
    wait_for(lambda: port.total("offramp_degraded") == 1)
    wait_for(lambda: port.total("offramp_held_texts") == 300)
    wait_for(lambda: port.total("offramp_snapshot_age_seconds") > 2)
    assert health(port) == (200, 200)
    server.resume()
    wait_for(lambda: port.total("offramp_held_texts") == 0)
    assert port.total("offramp_degraded") == 0
    assert port.of("offramp_apply_total", status="unreachable") >= 1
    assert port.of("offramp_apply_total", status="applied") >= 1


def test_without_a_broker_a_worker_lives_and_is_not_ready(fleet, port):
    """A restart would not bring the broker back; with it the worker is ready again."""
    fleet.environ["OFFRAMP_KAFKA__METADATA_MAX_AGE_S"] = "2"
    with start_kafka() as broker:
        fleet.environ["OFFRAMP_KAFKA__BOOTSTRAP_SERVERS"] = broker.address
        create_topics(broker.address, {topic_of(fleet.prefix, "films"): 1})
        fleet.start("a", HANGING_WORKER)
        wait_for(lambda: health(port) == (200, 200))
        broker.pause()
        wait_for(lambda: health(port) == (200, 503))
        assert port.get("/ready") == (503, "a: no broker answers\n")
        broker.resume()
        wait_for(lambda: health(port) == (200, 200))


def test_a_worker_under_load_answers_and_is_not_ready_while_it_ends(fleet, port, kafka, tmp_path):
    """As it is told to stop it still lives, and says that it finishes."""
    hold = tmp_path / "hold"
    fleet.environ["HOLD"] = str(hold)
    fleet.start("a", HANGING_WORKER)
    send(kafka, topic_of(fleet.prefix, "films"), good(count=20_000))
    wait_for(lambda: port.total("offramp_records_total") > 1_000)
    wait_for(lambda: health(port) == (200, 200))
    assert port.total("offramp_records_total") < 20_000
    hold.touch()
    wait_for(lambda: "holds" in fleet.log("a"))
    fleet.running["a"].send_signal(signal.SIGTERM)
    wait_for(lambda: port.get("/ready") == (503, "a: finishes its batches and ends\n"))
    assert port.status("/live") == 200
    hold.unlink()
    assert fleet.running["a"].wait(60) == 0
    assert health(port) == (0, 0)


def test_one_of_two_processes_that_hangs_is_named(fleet, port):
    """However alive the other is: the port of both says that one of them does not live."""
    fleet.environ["OFFRAMP_WORKER__STUCK_S"] = "3"
    with (fleet.logs / "w.log").open("ab") as log:
        fleet.running["w"] = subprocess.Popen(
            [sys.executable, "-m", "consumer", "worker", "--processes", "2"],
            env={**os.environ, **fleet.environ, "OFFRAMP_INSTANCE": "w", "OMP_NUM_THREADS": "1"},
            stderr=log,
        )
    wait_for(lambda: health(port) == (200, 200))
    children = psutil.Process(fleet.running["w"].pid).children()
    (child,) = [each for each in children if "w-1" in each.cmdline()]
    child.suspend()
    wait_for(lambda: port.status("/live") == 503)
    assert port.get("/live")[1].startswith("w-1: no turn of its main loop for ")
    child.kill()
    wait_for(lambda: health(port) == (200, 200))


def test_a_port_that_is_taken_ends_a_worker_at_once(fleet, port):
    """It says which setting to change."""
    with socket.create_server(("127.0.0.1", port.number)):
        process = fleet.start("a", HANGING_WORKER)
        assert process.wait(60) == 1
    assert f"metrics.port {port.number} at metrics.host 127.0.0.1 cannot be used" in fleet.log("a")
