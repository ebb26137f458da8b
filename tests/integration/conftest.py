"""What integration tests share: a broker that asks who one is, a worker that has counted."""

import time
from collections.abc import Iterator

import orjson
import pytest

from deploy.local.redis_server import RedisServer
from deploy.local.services import start_redis
from tests.support.members import Members
from tests.support.servers.secured_kafka import SecuredKafka
from tests.support.started import workers
from tests.support.tiny_model import write_tiny_model
from tests.support.topics import create_topics
from tests.support.waiting import wait_for
from tests.support.workers.arena import Arena, Storm
from tests.support.workers.fleet import DOMAINS, Fleet, topic_of


@pytest.fixture(scope="session")
def secured(tmp_path_factory) -> Iterator[SecuredKafka]:
    """A broker with TLS, logins and access rules: give each test names of its own."""
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    yield broker
    broker.stop()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of the test alone, which it may stop."""
    with start_redis() as server:
        yield server


@pytest.fixture
def arena(kafka, server, tmp_path) -> Iterator[Arena]:
    """A worker that has counted 200 texts, by `server`."""
    arena = Arena(kafka, server.url, tmp_path, Storm(partitions=2, bad_share=0.0))
    arena.fleet.start("w0")
    arena.produce(200)
    wait_for(lambda: arena.counted() == 200)
    yield arena
    arena.fleet.close()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A tiny model in the published layout."""
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def fleet(kafka, redis_url, model_folder, tmp_path) -> Iterator[Fleet]:
    """Workers of one group with topics of their own, none of them started."""
    prefix = f"t{time.time_ns()}"
    environ = {
        "OFFRAMP_KAFKA__BOOTSTRAP_SERVERS": kafka,
        "OFFRAMP_KAFKA__GROUP": prefix,
        "OFFRAMP_KAFKA__DEAD_LETTERS": f"{prefix}-dead",
        "OFFRAMP_REDIS__URL": redis_url,
        "OFFRAMP_MODEL__PATH": str(model_folder),
        "OFFRAMP_ROUTES": orjson.dumps(
            [
                {
                    "topics": rf"{prefix}\.\d",
                    "domain": "field:domain",
                    "output": f"{prefix}-out",
                }
            ]
        ).decode(),
    }
    topics = {topic_of(prefix, domain): 2 for domain in DOMAINS}
    create_topics(kafka, {**topics, f"{prefix}-out": 3, f"{prefix}-dead": 1})
    fleet = Fleet(environ, tmp_path, prefix)
    yield fleet
    fleet.stop()


@pytest.fixture
def start(redis_url, tmp_path):
    """Return what starts a worker, and reads its log; it reads `ends.films`."""
    shared = {
        "KAFKA__GROUP": "ends",
        "KAFKA__DEAD_LETTERS": "ends.dead",
        "REDIS__URL": redis_url,
        "ROUTES": '[{"topics": "ends.films", "output": "ends.out"}]',
        "INSTANCE": "w",
    }
    with workers(tmp_path, **shared) as run:

        def started(kafka, module="tests.support.workers.hanging_worker", **settings):
            return run(module, **{"KAFKA__BOOTSTRAP_SERVERS": kafka, **settings})

        yield started


@pytest.fixture
def members(kafka):
    """Streams of one group, none of them joined."""
    members = Members(kafka)
    yield members
    members.close()
