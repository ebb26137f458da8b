"""A schema registry for tests of events."""

import pytest

from tests.support.servers.registry import SchemaRegistry


@pytest.fixture
def registry():
    with SchemaRegistry().running() as double:
        yield double
