"""A policy whose domains have lived: texts decided batch by batch and counted in a real Redis."""

from __future__ import annotations

from random import Random

import numpy as np

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats
from policy_state.store.admin import Freeze, Pin, Reset
from policy_state.store.redis.store import RedisStore
from policy_state.store.values import PartitionDeltas, PolicyMeta

META = PolicyMeta(
    "default", "f1", (1, 3, 5, 7, 9, 12), PolicySettings(holdout=0.05), calibrated=True
)
ERRORS = {
    "hotels": (0.31, 0.16, 0.09, 0.075, 0.07, 0.068),
    "films": (0.22, 0.17, 0.13, 0.10, 0.085, 0.08),
    "laptops": (0.12, 0.115, 0.112, 0.11, 0.108, 0.107),
    "restaurants": (0.35, 0.28, 0.21, 0.14, 0.08, 0.06),
    "tweets": (0.38, 0.36, 0.33, 0.27, 0.23, 0.19),
    "support tickets": (0.27, 0.14, 0.13, 0.125, 0.12, 0.118),
}
HOSTILE = '<script>alert("x")</script>&<b>"\'/..%2f'
_BATCH = 64


def live(store: RedisStore, name: str, texts: int, *, first: int = 0, seed: int = 0) -> int:
    """Let texts of a domain come by: decided, counted; return the offset after the last one."""
    rng, random = np.random.default_rng(seed), Random(seed)
    errors = ERRORS.get(name, ERRORS["hotels"])
    domain = SyntheticDomain(errors, violations=0.04)
    at = first
    while at < first + texts:
        meta = store.bound()[1]
        snapshot, pool = store.read([name])[name], store.totals().stats
        rules = build(meta.settings, meta.layers, credits=meta.calibrated)
        count = min(_BATCH, first + texts - at)
        labels, truth = domain.texts(count, rng)
        credits = domain.credits(labels, truth)
        exits = np.array(rules.decide(snapshot.stats, count, rng=random, pool=pool).exits)
        if snapshot.pin is not None:
            exits[:] = snapshot.pin
        chosen = np.full(count, -1)
        held = rng.random(count) < meta.settings.holdout
        chosen[held], exits[held] = exits[held], meta.exits - 1
        cut = np.arange(meta.exits) > exits[:, None]
        labels[cut], credits[cut] = -1, 0
        sure = 1000 * (1 - np.array(errors)) + rng.normal(0, 15, (count, meta.exits))
        scores = np.where(cut, 0, np.clip(sure, 500, 1000)).astype(np.int16)
        stats = ExitStats.from_matrix(labels, credits=credits, scores=scores, chosen=chosen)
        epoch = {name: snapshot.epoch}
        store.apply([PartitionDeltas(f"t-{name}", 0, at, at + count, {name: stats}, epoch)])
        at += count
    return at


def fill(store: RedisStore) -> None:
    """Fill an empty store: six domains, changes by hand, and a worker."""
    store.open(META)
    upto = {name: live(store, name, 3000, seed=i) for i, name in enumerate(ERRORS)}
    drift = "drift: disagreement of exit 2 was 14.0%, is 31.2% over the last 96 texts"
    store.change("tweets", Reset(), by="worker-0", reason=drift, automatic=True)
    live(store, "tweets", 900, first=upto["tweets"], seed=8)
    store.change("films", Pin(2, 7_200_000), by="anna", reason="labels are checked by hand")
    store.change("laptops", Freeze(), by="anna", reason="contract 12")
    live(store, "films", 300, first=upto["films"], seed=9)
    beat(store)


def harm(store: RedisStore) -> None:
    """Add what somebody might write who means harm: a domain, a person and a reason."""
    live(store, HOSTILE, 40)
    store.change(
        HOSTILE, Pin(1), by='<img src=x onerror="alert(1)">', reason="<script>alert(2)</script>"
    )


def beat(store: RedisStore) -> None:
    """Show a worker as alive."""
    fields: dict[str, str | int] = {
        "group": "offramp",
        "policy": "default",
        "model": "f1",
        "partitions": "texts.hotels[0],texts.hotels[1]",
        "events": 19_240,
        "batches": 310,
        "started": 1_764_240_000,
        "pid": 7,
    }
    store.heartbeat("worker-0", fields, ttl_s=3600)
