"""The intervals of what operators read hold the truth about as often as they say."""

import numpy as np
import pytest

from policy_state.algorithms.bounds import certain_rest
from policy_state.reports.accuracy import estimated_accuracy
from policy_state.reports.holdout import holdout_of
from policy_state.stats import ExitStats

LAYERS = (1, 3, 7, 12)
TRIALS = 2000
LEAST = 0.92
"""Of intervals that say 95 %: Wilson's are right in the mean over shares, less often near 1."""


@pytest.mark.parametrize("texts", [5, 20, 100, 3000])
def test_the_holdout_holds_the_truth(texts: int) -> None:
    """Of domains with any mix of exits and any agreement, 92 in 100 intervals hold the truth."""
    rng = np.random.default_rng(texts)
    inside = {"agreement": 0, "layers_saved": 0}
    for _ in range(TRIALS):
        mix = rng.dirichlet([0.3] * len(LAYERS))
        apart = rng.beta(1, 20, size=len(LAYERS))
        held = rng.multinomial(texts, mix)
        parted = rng.binomial(held, apart)
        found = holdout_of(stats(held=tuple(held), parted=tuple(parted)), LAYERS)
        assert found is not None
        assert found.texts == texts
        truth = {
            "agreement": 1 - float(mix @ apart),
            "layers_saved": float(mix @ (1 - np.array(LAYERS) / LAYERS[-1])),
        }
        for name, value in truth.items():
            share = getattr(found, name)
            inside[name] += share.low <= value <= share.high
    assert all(count >= LEAST * TRIALS for count in inside.values()), inside


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("texts", [10, 100, 2000])
def test_the_accuracy_of_a_calibrated_model_is_inside_its_interval(
    texts: int, classes: int
) -> None:
    """Where the confidence is right and exits err as assumed, the accuracy is found by chance."""
    rng = np.random.default_rng(texts + classes)
    inside = 0
    for _ in range(TRIALS):
        guess, skew, same = 1 / classes, rng.uniform(1, 8), rng.uniform(0.5, 1)
        confidence = guess + (1 - guess) * rng.beta(skew, 1, size=texts)
        last = guess + (1 - guess) * skew / (skew + 1)
        apart = rng.binomial(texts, 1 - same)
        counted = stats(
            observed=(texts,) * 4,
            apart=(apart, 0, 0, 0),
            confidence=(0, 0, 0, int(np.rint(1000 * confidence).sum())),
        )
        found = estimated_accuracy(counted, classes=classes)
        assert found is not None
        truth = last * same + (1 - last) * (1 - same) / (classes - 1)
        inside += found[0].low <= truth <= found[0].high
        assert found[0].low <= found[0].share <= found[0].high
    assert inside >= LEAST * TRIALS


def test_what_steps_gain_is_within_its_bound_if_all_come_on_the_same_texts() -> None:
    """A few hard texts change at each of eleven steps: at most 1 in 20 domains passes its bound."""
    domains, texts, exits, hard, credit = 200, 2000, 12, 0.05, 0.12
    rng = np.random.default_rng(0)
    seen = np.repeat(np.arange(1.0, texts + 1)[:, None], exits, axis=1)
    passed = 0
    for _ in range(domains):
        sums = np.zeros((texts, exits))
        sums[:, 1:] = credit * (rng.random(texts) < hard).cumsum()[:, None]
        _, upper = certain_rest(seen, sums, credit * sums)
        passed += bool((upper[:, 0] < hard * credit * (exits - 1)).any())
    assert passed <= domains / 20


def stats(**counts: tuple[int, ...]) -> ExitStats:
    """Return counters of four exits."""
    return ExitStats(**{"observed": (0,) * 4} | counts)
