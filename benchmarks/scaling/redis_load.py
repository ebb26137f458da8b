"""What one worker costs Redis: CPU and bytes of a counted batch, and commands while it is idle."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import redis

from deploy.local.services import start_redis
from policy_state.stats import ExitStats
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta

_TEXTS = 8  # of a domain in a batch, from each partition
_KNOWN = 256  # domains
_BATCHES = 32  # different ones
_LOOKS = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call of `apply.lua` costs."""

    exits: int
    domains: int
    cpu_us: float  # of the server's process, network and log included
    bytes_in: float
    bytes_out: float


def apply_costs(exits: Sequence[int], domains: Sequence[int], *, calls: int) -> list[Cost]:
    """Return the cost of a batch of a calibrated model, for each number of exits and of domains."""
    found = []
    with start_redis() as server, redis.Redis.from_url(server.url) as raw:
        for count in exits:
            with RedisStore(server.url) as store:
                store.open(
                    PolicyMeta(f"e{count}", "f", tuple(range(1, count + 1)), calibrated=True)
                )
                offset = 0
                for many in domains:
                    batches = [_batch(many, count, seed) for seed in range(_BATCHES)]
                    for i in range(_BATCHES):  # so that all domains are there
                        store.apply(_parts(batches[i], offset + i))
                    offset += _BATCHES
                    before = usage(raw)
                    for i in range(calls):
                        store.apply(_parts(batches[i % _BATCHES], offset + i))
                    offset += calls
                    spent = (usage(raw) - before) / calls
                    cpu_s, bytes_in, bytes_out = spent.tolist()
                    found.append(Cost(count, many, 1e6 * cpu_s, bytes_in, bytes_out))
    return found


def look_us(workers: int) -> float:
    """Return the server's CPU time for each worker that a worker sees when it looks at all."""
    shown = dict.fromkeys("abcdefghijklmnopqr", "12345678")  # 18 fields, as of a worker
    with (
        start_redis() as server,
        RedisStore(server.url) as store,
        redis.Redis.from_url(server.url) as raw,
    ):
        for number in range(workers):
            store.heartbeat(f"w{number}", shown, ttl_s=600)
        before = usage(raw)
        for _ in range(_LOOKS):
            store.workers()
        spent = usage(raw) - before
    return float(1e6 * spent[0] / _LOOKS / workers)


def fitted(costs: Sequence[Cost], what: str) -> tuple[float, float, float]:
    """Return a, b, c so that a call costs about a + domains x (b + c x exits)."""
    rows = np.array([(1, c.domains, c.domains * c.exits) for c in costs], dtype=float)
    values = np.array([getattr(c, what) for c in costs], dtype=float)
    weights = 1 / values  # the same share of error counts the same everywhere
    solved, *_ = np.linalg.lstsq(rows * weights[:, None], values * weights, rcond=None)
    return float(solved[0]), float(solved[1]), float(solved[2])


def usage(raw: redis.Redis) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the CPU seconds that a server has taken, and the bytes that it got and sent."""
    info: Any = raw.info()
    return np.array(
        [
            info["used_cpu_sys"] + info["used_cpu_user"],
            info["total_net_input_bytes"],
            info["total_net_output_bytes"],
        ]
    )


@contextmanager
def commands_sent(url: str) -> Iterator[list[float]]:
    """Yield a list of the times at which clients send a command; those inside scripts are none."""
    found: list[float] = []
    with redis.Redis.from_url(url) as raw, raw.monitor() as monitor:

        def listen() -> None:
            with contextlib.suppress(redis.RedisError, OSError, ValueError, AttributeError):
                while True:  # until the connection is closed
                    if monitor.next_command()["client_type"] != "lua":
                        found.append(time.monotonic())

        threading.Thread(target=listen, daemon=True).start()
        yield found


def _parts(deltas: dict[str, ExitStats], offset: int) -> list[PartitionDeltas]:
    """Return a batch of two partitions, as `offramp plan` gives each worker, with all domains."""
    return [PartitionDeltas("t", number, offset, offset + 1, deltas) for number in range(2)]


def _batch(domains: int, exits: int, seed: int) -> dict[str, ExitStats]:
    rng = random.Random(seed)
    deltas = {}
    for number in rng.sample(range(_KNOWN), domains):
        texts = [[rng.randrange(2) for _ in range(1 + rng.randrange(exits))] for _ in range(_TEXTS)]
        deltas[f"domain-{number:03}"] = ExitStats.from_texts(
            texts,
            exits=exits,
            scores=[[500 + rng.randrange(500) for _ in text] for text in texts],
            credits=[
                [0, *(rng.randrange(1000) if a != b else 0 for a, b in pairwise(text))]
                for text in texts
            ],
        )
    return deltas
