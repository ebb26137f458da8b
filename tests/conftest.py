"""What tests share: a real Kafka, a real Redis, and the folder of models and data.

Clients and servers are imported where they are used: unit tests start without them.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine fails no test
settings.load_profile("untimed")

_REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap servers of one broker for the whole run: give each test topics of its own."""
    from deploy.local.services import local_services

    with local_services(redis=False) as services:
        yield services.kafka


@pytest.fixture(scope="session")
def _redis_of_the_run() -> Iterator[str]:
    from deploy.local.services import local_services

    with local_services(kafka=False) as services:
        yield services.redis if "OFFRAMP_TEST_REDIS" not in os.environ else _own(services.redis)


def _own(url: str) -> str:
    """Return the URL of a database of this process: those that run beside it empty theirs, too."""
    address = urlsplit(url)
    number = int(address.path.strip("/") or 0)
    number += int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return address._replace(path=f"/{number}").geturl()


@pytest.fixture
def redis_url(_redis_of_the_run: str) -> str:
    """URL of an empty database. One of OFFRAMP_TEST_REDIS is emptied too."""
    import redis

    with redis.Redis.from_url(_redis_of_the_run) as client:
        client.flushdb()
    return _redis_of_the_run


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the models and data that are not in the repository; skips where absent."""
    folder = Path(os.environ.get("OFFRAMP_SHARED") or _REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs models and data: {folder} is absent, name it in OFFRAMP_SHARED")
    return folder
