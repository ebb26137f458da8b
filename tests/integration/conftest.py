"""What integration tests share: a broker that asks who one is."""

from collections.abc import Iterator

import pytest

from tests.secured_kafka import SecuredKafka


@pytest.fixture(scope="session")
def secured(tmp_path_factory) -> Iterator[SecuredKafka]:
    """A broker with TLS, logins and access rules: give each test names of its own."""
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    yield broker
    broker.stop()
