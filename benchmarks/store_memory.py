"""What a domain takes of Redis's memory, with counters of a model that is calibrated or not."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import redis

from deploy.local.services import start_redis
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta

if TYPE_CHECKING:
    from deploy.local.services import Flavour

MOST_EXITS = 12  # one after every layer


def meta(exits: int) -> PolicyMeta:
    """Return a policy for a model with so many exits."""
    return PolicyMeta("bench", "f1", tuple(range(1, exits + 1)))


def bytes_a_domain(
    flavour: Flavour, domains: int, *, calibrated: bool
) -> tuple[int, int, int, int]:
    """Return counters in a domain, and bytes of its hash, of its index entry, and all in."""
    # Without the log: its rewrite in the background holds memory for a while.
    with (
        start_redis(flavour=flavour, args=("--appendonly", "no")) as server,
        RedisStore(server.url, timeout_s=30) as store,
    ):
        pid = store.open(meta(MOST_EXITS)).id
        with redis.Redis.from_url(server.url) as raw:
            before = raw.info("memory")["used_memory"]
            rng = random.Random(0)
            stats = [busy_stats(rng, calibrated=calibrated) for _ in range(500)]
            for first in range(0, domains, 500):
                deltas = {
                    f"domain-{first + i:06}": stats[i] for i in range(min(500, domains - first))
                }
                store.apply([PartitionDeltas("t", 0, first, first + 1, deltas)])
            raw.script_flush()
            used = raw.info("memory")["used_memory"] - before
            key = f"offramp:{{{pid}}}:d:domain-{domains // 2:06}"
            fields = raw.hlen(key)
            one = raw.memory_usage(key, samples=0) or 0
            index = (raw.memory_usage(f"offramp:{{{pid}}}:idx", samples=0) or 0) // domains
    return fields, one, index, round(used / domains)


def busy_stats(rng: random.Random, *, calibrated: bool) -> ExitStats:
    """Return counters of a domain with some ten thousand texts."""
    texts = [[rng.randrange(2) for _ in range(1 + rng.randrange(MOST_EXITS))] for _ in range(100)]
    said: dict[str, Any] = {}
    if calibrated:
        said["scores"] = [[500 + rng.randrange(500) for _ in text] for text in texts]
        said["credits"] = [
            [0, *(rng.randrange(1000) if a != b else 0 for a, b in pairwise(text))]
            for text in texts
        ]
    fields = ExitStats.from_texts(texts, exits=MOST_EXITS, **said).to_fields()
    many = {name: count * 100 + rng.randrange(100) for name, count in fields.items()}
    return ExitStats.from_fields(many, exits=MOST_EXITS)
