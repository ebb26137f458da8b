"""What a version of Offramp keeps in Redis, as a file: every later version reads it.

`python -m tests.support.policies.released FILE` writes the file of the schema at hand. A file is
never written again once its schema is released: another schema gets another file.
"""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis

from deploy.local.services import start_redis
from policy_state.algorithms.settings import PolicySettings
from policy_state.labelled import LabelledDuels
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Label, Pin, Reset
from policy_state.store.groups import ConsumerGroup
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import Limits, PartitionDeltas, PolicyMeta
from policy_state.transfer.document import to_document
from policy_state.transfer.transfer import export_policy

FOREVER_MS = 100 * 365 * 86_400_000  # else domains would go in the year in which they are read
META = PolicyMeta(
    "sentiment",
    "f1",
    (1, 3, 12),
    PolicySettings(cost_weight=0.2, tolerance=0.02, holdout=0.05),
    Limits(idle_ms=FOREVER_MS, rare_idle_ms=FOREVER_MS),
    calibrated=True,
)
GROUP = ConsumerGroup("a-cluster", "reviews")
ROUTE = {"name": "mine", "topics": "texts", "output": "out"}
WHO: dict[str, Any] = {"by": "anna", "reason": "labels are checked by hand: 100 %"}


def text(*labels: int, chosen: int | None = None) -> ExitStats:
    """Return what one text of a calibrated model adds."""
    changed = [0, *(120 * (one != other) for one, other in pairwise(labels))]
    scores = (900, 950, 990)[: len(labels)]
    return ExitStats.from_texts(
        [labels], exits=3, credits=[changed], scores=[scores], chosen=[chosen]
    )


def fill(store: RedisStore) -> None:
    """Write something of every kind."""
    store.open(META)
    hotels = sum([text(0, 1, 1), text(1, 1), text(0, 0, 0, chosen=1)], text(1))
    store.apply([PartitionDeltas("topic", 0, 0, 4, {"hotels": hotels}, {})])
    more = {"hôtels 2": text(0, 1, 1), "hotels": text(1)}
    store.apply([PartitionDeltas("topic", 0, 7, 9, more, {})])
    store.apply([PartitionDeltas("topic", 1, 0, 1, {"films": text(1, 1), "drifted": text(1)}, {})])
    store.change("hôtels 2", Pin(2), **WHO)
    store.change("films", Freeze(), **WHO)
    store.change("drifted", Reset(), **WHO)
    store.change("hotels", Label(LabelledDuels(60, (0, 40, 9), (0, 30, 2), (0, 10, 7))), **WHO)
    store.write_routes(GROUP.name, [ROUTE], revision=0, action="add", detail={}, **WHO)
    store.begin_group(GROUP, {"topic/0": 3})
    store.keep_positions(GROUP, {"topic/0": 9, "topic/1": 1})


def dump(client: redis.Redis) -> dict[str, Any]:
    """Return everything in a Redis as plain values."""
    read: dict[str, Any] = {
        "hash": client.hgetall,
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    return {
        key: [kind := str(client.type(key)), read[kind](key)]
        for key in sorted(map(str, client.scan_iter()))
    }


def restore(client: redis.Redis, keys: dict[str, Any]) -> None:
    """Write what `dump` returned."""
    for key, (kind, value) in keys.items():
        if kind == "hash":
            client.hset(key, mapping=value)
        elif kind == "zset":
            client.zadd(key, {str(member): score for member, score in value})
        else:
            for entry, fields in value:
                client.xadd(key, fields, id=entry)


def main() -> None:
    """Write the file."""
    with start_redis() as server, RedisStore(server.url) as store:
        fill(store)
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            keys = dump(client)
        content = {"keys": keys, "export": to_document(export_policy(store))}
    Path(sys.argv[1]).write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
