"""The store that the settings name, for whoever asks it: workers, hosts and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy_state.store.redis.store import RedisStore

if TYPE_CHECKING:
    from consumer.settings.load import Settings


def open_store(settings: Settings) -> RedisStore:
    """Return the store that the settings name; nothing is sent to it yet.

    Raises:
        InvalidSettings: the address is none.
    """
    redis = settings.redis
    return RedisStore(
        redis.url,
        timeout_s=redis.timeout_s,
        password_file=redis.password_file,
        ca_file=redis.ca_file,
    )
