"""Positions of consumer groups as calls of scripts; knows no client library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy_state.domains import encode_domain
from policy_state.store.positions import StoredPositions
from policy_state.store.redis import wire
from policy_state.store.redis.stats import RedisStats

if TYPE_CHECKING:
    from collections.abc import Mapping

    from policy_state.store.positions import ConsumerGroup

_BEGAN: Final = "began"


class RedisPositions(RedisStats):
    """Implements `PositionStore` on a server that runs the scripts beside this file."""

    def group_began(self, group: ConsumerGroup) -> bool:
        """Return whether `begin_group` was ever called for a group."""
        return bool(self.server.command("HEXISTS", _key(group), _BEGAN))

    def begin_group(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> bool:
        """Write where a group begins, all of it or nothing; say whether this call did."""
        return bool(self.server.script("positions.lua", [_key(group)], _flat(offsets)))

    def position(self, group: ConsumerGroup, source: str) -> int | None:
        """Return the offset at which a group goes on in a partition, if it is known."""
        key = _key(group)
        text = self.server.command("HGET", key, source)
        return None if text is None else wire.number({source: text}, source, "", key=key)

    def positions(self, group: ConsumerGroup) -> StoredPositions:
        """Return all that is known of a group."""
        key = _key(group)
        fields = self.server.command("HGETALL", key)
        sources = [name for name in fields if name != _BEGAN]
        offsets = {source: wire.number(fields, source, "", key=key) for source in sources}
        return StoredPositions(_BEGAN in fields, offsets)

    def keep_positions(self, group: ConsumerGroup, offsets: Mapping[str, int]) -> None:
        """Note where a group goes on in some partitions."""
        if offsets:
            self.server.command("HSET", _key(group), *_flat(offsets))


def _key(group: ConsumerGroup) -> str:
    tag = f"{{positions:{encode_domain(group.name)}}}"
    return f"offramp:{tag}:{encode_domain(group.cluster)}"


def _flat(offsets: Mapping[str, int]) -> list[str | int]:
    return [word for pair in offsets.items() for word in pair]
