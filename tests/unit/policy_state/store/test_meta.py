"""What Redis holds of a policy may be anything: it is refused if no exit can be chosen with it."""

import json
from typing import Any

import pytest

from policy_state.errors import StoreCorrupt
from policy_state.store.redis.wire import meta_fields, meta_from_fields
from policy_state.store.values import PolicyMeta

META = PolicyMeta("default", "f1", (1, 6, 12))
DEEP = "[" * 100_000
LAYERS = (
    *("", "[]", "{}", "null", "12", '"12"', "[0, 1]", "[1, 1]", "[6, 1]", "[-1, 2]", '["a", "b"]'),
    *("[1.5, 3]", "[true, 3]", "[null]", "[[1], 2]", "[1, NaN]", "[1, 1e400]", "[1, 20000]"),
    *("[1, " + "9" * 5000 + "]", DEEP),
)
SETTINGS: tuple[Any, ...] = (
    *("", "[]", "null", "{", DEEP, {"alpha": "x"}, {"cost": [1, 2]}, {"cost": "x"}, {"cost": {}}),
    *({"cost": [None, 1, 2]}, {"cost_weight": "x"}, {"cost_weight": float("nan")}, {"gate": "x"}),
    *({"holdout": None}, {"tolerance": []}, {"algorithm": []}, {"scouts": None}),
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("layers", each) for each in LAYERS),
        *(("settings", each) for each in SETTINGS),
        *(("calibrated", each) for each in ("", "x")),
        *(("classes", each) for each in ("", "x", "0", "1e3", "9" * 400)),
        *(("domains", each) for each in ("", "x", "-1")),
        ("fingerprint", ""),
    ],
)
def test_a_damaged_policy_is_called_one(field, value):
    """Whoever reads it is told which key it is, and never gets another error."""
    stored = value if isinstance(value, str) else json.dumps(value)
    with pytest.raises(StoreCorrupt, match="a:key is not a policy"):
        meta_from_fields(meta_fields(META) | {field: stored}, name="default", key="a:key")
    assert meta_from_fields(meta_fields(META), name="default", key="a:key") == META
