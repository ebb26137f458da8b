"""What integration tests share: a broker that asks who one is, a worker that has counted."""

from collections.abc import Iterator

import pytest

from deploy.local.redis_server import RedisServer
from deploy.local.services import start_redis
from tests.chaos.storm import Arena, Storm
from tests.integration.worker.test_stream import wait_for
from tests.support.servers.secured_kafka import SecuredKafka


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
