"""A policy with three domains, the commands about it, and topics of predictions."""

from collections.abc import Iterator
from typing import Any

import pytest

from policy_state.store.redis.store import RedisStore
from tests.support.policies.predicted_topics import World
from tests.support.policies.shown import META, count, stats
from tests.support.policy_cli import offramp_policy


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """Yield a store with three domains."""
    with RedisStore(redis_url) as opened:
        opened.open(META)
        count(opened, {"hotels": stats(60, 0.5), "books": stats(40, 0.0), "music": stats(9, 0.2)})
        yield opened


@pytest.fixture
def offramp(redis_url: str) -> Any:
    """Return a function that runs `offramp policy` and returns what came of it."""
    return offramp_policy(redis_url)


@pytest.fixture
def world(kafka: str) -> Iterator[World]:
    """Yield topics with predictions in them."""
    made = World(kafka)
    try:
        made.predict()
        yield made
    finally:
        made.admin.close()
