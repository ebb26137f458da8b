"""What `offramp model bench -o json` says becomes times, or an error that names the cure."""

import copy
from dataclasses import astuple
from typing import Any

import pytest

from consumer.errors import InvalidSettings
from consumer.sizing.measured import Times, checked_shares, measured_from, shares_of

ROW = {
    "precision": "bf16",
    "exit": 0,
    "layer": 3,
    "texts_per_s": 1.0,
    "price_per_million": None,
    "batch_ms": 130.0,
    "few_ms": 18.0,
    "cpu_us": 900.0,
    "tokenise_us": 40.0,
    "tokenise_cpu_us": 60.0,
}
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "kind": "model-bench",
    "machine": "a GPU",
    "device": "cuda",
    "cores": 16,
    "fingerprint": "f1",
    "texts": 256,
    "few_texts": 32,
    "tokens_per_text": 64.0,
    "exits": [ROW, {**ROW, "layer": 12, "batch_ms": 520.0, "few_ms": 65.0}],
}


def test_a_measurement_becomes_times() -> None:
    """Milliseconds become seconds, and two batches a fixed and a proportional part."""
    found = measured_from(DOCUMENT, source="b.json")
    assert (found.machine, found.device, found.cores) == ("a GPU", "cuda", 16)
    assert (found.layers, found.tokens, found.fingerprint) == ((3, 12), 64.0, "f1")
    assert (found.tokenise_s, found.tokenise_cpu_s) == (40e-6, 60e-6)
    assert astuple(found.exits[0]) == pytest.approx((0.002, 0.0005, 0.0009))
    assert found.exits[1].of(256) == pytest.approx(0.52)


def test_the_fastest_precision_counts() -> None:
    """Of several precisions it is the one that reaches the last exit first."""
    fast = [
        {**row, "precision": "int8", "batch_ms": row["batch_ms"] / 2} for row in DOCUMENT["exits"]
    ]
    found = measured_from({**DOCUMENT, "exits": DOCUMENT["exits"] + fast}, source="b.json")
    assert (found.precision, len(found.exits)) == ("int8", 2)


@pytest.mark.parametrize(
    ("few", "many"), [((32, 0.2), (256, 0.1)), ((32, 0.0001), (256, 0.1)), ((1, 0.1), (1, 0.1))]
)
def test_a_disturbed_measurement_promises_nothing(few: tuple, many: tuple) -> None:
    """Whatever the small batch took, the large one takes what it took, mostly for its texts."""
    found = Times.through(few, many, cpu_s=0)
    assert found.of(many[0]) == pytest.approx(many[1])
    assert found.batch_s >= 0
    assert found.text_s >= 0.5 * many[1] / many[0] - 1e-9


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("kind",), "plan", "b.json: is no measurement of a model; make it with `offramp model"),
        (("texts",), 0, "b.json: texts: expected 1 or more; make it with"),
        (("exits",), [], "b.json: exits: expected a list of at least 1; make it with"),
        (("exits", 0, "batch_ms"), -1, "b.json: exits.0.batch_ms: expected more than 0; make"),
        (("exits", 1, "few_ms"), "x", "b.json: exits.1.few_ms: expected a number; make it"),
        (("cores",), None, "b.json: cores: expected a whole number; make it with"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(path: tuple, value: object, said: str) -> None:
    """File, field and cure, on one line."""
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(InvalidSettings) as caught:
        measured_from(document, source="b.json")
    assert str(caught.value).startswith(said)


def test_longer_texts_take_longer_in_proportion_and_only_so_far() -> None:
    """Half as many tokens take half the time; a quarter is not worked out from this."""
    found = measured_from(DOCUMENT, source="b.json")
    half = found.with_tokens(32)
    assert astuple(half.exits[0]) == pytest.approx((0.002, 0.00025, 0.00045))
    assert half.tokens == 32
    assert half.tokenise_s == pytest.approx(20e-6)
    with pytest.raises(InvalidSettings, match=r"`offramp model bench --tokens 16`$"):
        found.with_tokens(16)


def test_shares_must_fit_the_exits_and_add_up() -> None:
    """Counts become shares; written shares are checked."""
    assert shares_of([1, 3], exits=2) == (0.25, 0.75)
    assert checked_shares([0.333, 0.333, 0.333], exits=3) == pytest.approx((1 / 3,) * 3)
    with pytest.raises(InvalidSettings, match=r"^the shares add up to 0.9, expected 1$"):
        checked_shares([0.5, 0.4], exits=2)
    with pytest.raises(InvalidSettings, match=r"^2 shares of texts, but the model has 3 exits$"):
        shares_of([1, 1], exits=3)
    with pytest.raises(InvalidSettings, match="nothing to plan for"):
        shares_of([0, 0], exits=2)
