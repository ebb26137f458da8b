"""A calibrated model on a real Redis: what its exits are worth enters the counters."""

import random

import pytest

from consumer.errors import InvalidSettings
from model.calibration import Calibration, write_calibration
from offramp import Offramp, Record, encode_prediction, load_settings
from policy_state.store.redis.store import RedisStore
from tests.support.policies.written import counters_of
from tests.support.tiny_model import WORDS, tiny_config, write_tiny_model

CALIBRATION = Calibration((0.5, 2.0, 4.0), (0.25, 0.1), 500, (9, 9), (0.1,) * 3, (0.0,) * 3)


@pytest.mark.parametrize("calibrated", [True, False])
def test_counters_are_what_the_predictions_say(redis_url, tmp_path, calibrated):
    """The policy knows that its model is calibrated; texts of the holdout are counted as such."""
    folder = write_tiny_model(tmp_path, config=tiny_config(exit_layers=(1, 2, 4)))
    if calibrated:
        write_calibration(folder, CALIBRATION)
    options = {"redis.url": redis_url, "model.path": str(folder), "policy.holdout": "0.5"}
    chance = random.Random(0)
    written: list[bytes] = []
    with Offramp(load_settings(options=options)) as offramp:
        for first in range(0, 400, 40):
            texts = [" ".join(chance.choices(WORDS, k=1 + i % 18)).encode() for i in range(40)]
            records = [
                Record(f"texts.{'ab'[i % 2]}", 0, first + i, 0, None, text)
                for i, text in enumerate(texts)
            ]
            written += map(encode_prediction, offramp.process(records).predictions)
    with RedisStore(redis_url) as store:
        meta = store.find("default")
        assert meta is not None
        store.open(meta)
        found = {name: record.stats for name, record in store.read(store.domains()).items()}
    assert meta.calibrated is calibrated
    assert found == counters_of(written, 3)
    everything = found["a"] + found["b"]
    assert 100 < sum(everything.held) < 300
    assert (sum(everything.credit) > 0) is calibrated
    assert (sum(everything.confidence) > 0) is calibrated
    assert sum(everything.duels) > 0


def test_a_gate_is_refused_without_a_calibration(redis_url, tmp_path):
    """Before a policy is created, with the command that calibrates."""
    folder = write_tiny_model(tmp_path, config=tiny_config(exit_layers=(1, 2, 4)))
    options = {"redis.url": redis_url, "model.path": str(folder), "policy.gate": "0.99"}
    with pytest.raises(InvalidSettings, match="offramp model calibrate"):
        Offramp(load_settings(options=options))
    with RedisStore(redis_url) as store:
        assert store.find("default") is None
