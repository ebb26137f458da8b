"""A policy that has lived, dashboards that show it, and who may change it."""

from collections.abc import Iterator

import pytest

from deploy.local.services import start_redis
from policy_state.store.redis.store import RedisStore
from tests.support.policies.lived import fill
from tests.support.servers.dashboard import dashboard

TOKEN = "c2VjcmV0LW9mLXRoZS10ZXN0cw"  # noqa: S105 - of these tests alone


@pytest.fixture(scope="package")
def lived() -> Iterator[str]:
    """URL of a Redis with the policy."""
    with start_redis() as server:
        with RedisStore(server.url) as store:
            fill(store)
        yield server.url


@pytest.fixture(scope="package")
def looking(lived: str) -> Iterator[str]:
    """Address of a dashboard that changes nothing."""
    with dashboard(lived) as address:
        yield address


@pytest.fixture(scope="package")
def changing(lived: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a dashboard that changes what those ask for who know the token."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(f"{TOKEN}\n")
    with dashboard(lived, "--token-file", str(file), "--allow-writes") as address:
        yield address


@pytest.fixture
def token() -> str:
    """The token of `changing`."""
    return TOKEN
