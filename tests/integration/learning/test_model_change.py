"""A worker meets a policy of another model, on a real Redis: it stops, starts anew, or warm."""

import pytest

from benchmarks.free_model import FreeModel
from offramp import Offramp, Record, load_settings
from policy_state.errors import FingerprintMismatch
from policy_state.store.changes import scaled
from policy_state.store.redis.store import RedisStore
from policy_state.transfer.transfer import export_policy

TEXTS = 400


class NextModel(FreeModel):
    """The model of the next release."""

    fingerprint = "the-next-model-of-many"


def process(redis_url, engine, *, first=0, count=TEXTS, topics=4, **store):
    """Let a worker's step predict and count some texts under these settings of the store."""
    options = {"redis.url": redis_url, "policy.algorithm": "uee-ucb", "policy.holdout": 0}
    options |= {f"store.{name}": value for name, value in store.items()}
    records = [
        Record(f"texts.d{offset % topics}", 0, offset, 0, None, b"x" * (1 + offset % 9))
        for offset in range(first, first + count)
    ]
    with Offramp(load_settings(options=options), engine=engine) as offramp:
        outcome = offramp.process(records)
    assert len(outcome.predictions) == count


def policies(redis_url):
    """Return all that is stored, by the name of the policy."""
    with RedisStore(redis_url) as store:
        found = {}
        for meta in store.policies():
            store.open(meta)
            found[meta.name] = export_policy(store)
        return found


def counters(document):
    """Return the counters of every domain."""
    return {name: record.stats for name, record in document.domains.items()}


def test_another_model_stops_before_it_reads(redis_url):
    """The default: nothing is predicted, nothing is written, the message names both models."""
    process(redis_url, FreeModel())
    before = policies(redis_url)
    with pytest.raises(FingerprintMismatch, match=r"the-next-model-of-many .* free-model"):
        process(redis_url, NextModel())
    assert policies(redis_url) == before


def test_two_models_run_side_by_side(redis_url):
    """`new`: each model counts what it has seen under its own name, and neither the other's."""
    process(redis_url, FreeModel(), on_mismatch="new")
    process(redis_url, NextModel(), first=400, on_mismatch="new")
    process(redis_url, FreeModel(), first=800, on_mismatch="new")
    found = policies(redis_url)
    assert {name: sum(s.texts for s in counters(found[name]).values()) for name in found} == {
        "default": 800,
        "default@the-next-mod": 400,
    }
    assert found["default@the-next-mod"].meta.fingerprint == NextModel.fingerprint


def test_a_new_model_may_start_from_a_share_of_what_the_old_one_learnt(redis_url):
    """`warm-start`: so it is when the policy is created, and only then; the audit tells."""
    process(redis_url, FreeModel())
    old = counters(policies(redis_url)["default"])
    warm = {"on_mismatch": "warm-start", "warm_start_weight": 0.25}
    process(redis_url, NextModel(), first=400, count=0, **warm)
    expected = {name: scaled(stats, 0.25) for name, stats in old.items()}
    assert counters(policies(redis_url)["default@the-next-mod"]) == expected
    process(redis_url, NextModel(), first=400, count=4, **warm)
    found = policies(redis_url)
    now = counters(found["default@the-next-mod"])
    assert sum(s.texts for s in now.values()) == sum(s.texts for s in expected.values()) + 4
    assert counters(found["default"]) == old
    with RedisStore(redis_url) as store:
        store.open(found["default@the-next-mod"].meta)
        entry, begun = store.audit()
    assert begun.action == "warm-start-begin"
    assert (entry.action, entry.detail["from"], entry.detail["weight"]) == (
        "warm-start",
        "default",
        0.25,
    )


def test_limits_of_the_settings_hold_for_a_policy_that_is_created(redis_url):
    """As many domains as the settings say have counters of their own; later settings are late."""
    limits = {"idle_s": 600, "rare_idle_s": 60, "rare_texts": 5}
    process(redis_url, FreeModel(), count=9, topics=9, domains=2, **limits)
    process(redis_url, FreeModel(), first=9, count=9, topics=9, domains=50, **limits)
    stored = policies(redis_url)["default"]
    assert stored.domains.keys() == {"d0", "d1", "__overflow__"}
    limits = stored.meta.limits
    assert (limits.domains, limits.idle_ms, limits.rare_idle_ms, limits.rare_texts) == (
        2,
        600_000,
        60_000,
        5,
    )
