"""Groups that read topics, and what they log."""

import logging
import re
from collections.abc import Callable, Iterator

import pytest

from policy_state.store.redis.store import RedisStore
from tests.support.memory.store import MemoryStore
from tests.support.workers.reading_group import Group


@pytest.fixture
def make_group(kafka: str) -> Iterator[Callable[..., Group]]:
    groups: list[Group] = []

    def make(store: MemoryStore | RedisStore | None = None) -> Group:
        groups.append(Group(kafka, store or MemoryStore()))
        return groups[-1]

    yield make
    for group in groups:
        group.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """Return what returns the messages that match."""
    caplog.set_level(logging.INFO, "offramp.stream")
    return lambda pattern: [m for m in caplog.messages if re.search(pattern, m)]
