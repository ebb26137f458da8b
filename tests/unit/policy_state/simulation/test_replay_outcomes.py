"""What replays come to, made-up domains, options in words: by hand, and what is refused."""

import math

import numpy as np
import pytest

from policy_state.algorithms.settings import PolicySettings
from policy_state.algorithms.uee_ucb import UeeUcb
from policy_state.errors import InvalidInput
from policy_state.options import parse_numbers, parse_options, with_values
from policy_state.simulation.outcomes import Regret, Scale, baselines, outcome
from policy_state.simulation.replay import Fleet, Replay, replay, shuffles
from policy_state.simulation.synthetic import SyntheticDomain

LABELS = np.array([[0, 1], [1, 1], [0, 0], [0, 1]], dtype=np.int8)
TRUTH = np.array([1, 1, 0, 1], dtype=np.int8)
COSTS, LAYERS = (0.1, 0.3), (3, 12)


def played(*exits: list[int], orders: list[list[int]] | None = None) -> Replay:
    """Return a replay in which texts stopped at these exits."""
    order = np.array(orders or [[0, 1, 2, 3]] * len(exits))
    return Replay(order, np.array(exits, dtype=np.int8), ((),) * len(exits))


def test_an_outcome_by_hand() -> None:
    """Accuracy, cost, layers and regret of two trials, in their own orders."""
    found = outcome(
        played([1, 0, 0, 1], [0, 0, 0, 0], orders=[[0, 1, 2, 3], [3, 2, 1, 0]]),
        Scale(LABELS, TRUTH, COSTS, LAYERS),
    )
    # Exit 0 errs on two of four texts, exit 1 on none: losses 0.6 and 0.3, so exit 1 is best.
    assert found.accuracy == pytest.approx((4 + 2) / 8)
    assert found.cost == pytest.approx((0.8 + 0.4) / 8)
    assert found.layers == pytest.approx((30 + 12) / 8)
    assert found.regret.keys() == {"end"}
    end = found.regret["end"]
    assert (end.mean, end.sd) == pytest.approx((0.9, np.std([0.6, 1.2], ddof=1)))
    assert (end.high - end.mean) == pytest.approx(1.959964 * end.sd / math.sqrt(2))
    assert found.counts == ((2, 2), (4, 0))
    assert found.curve[0][:2] == pytest.approx((1, (0 + 0.3) / 2))
    assert found.curve[-1][:2] == pytest.approx((4, 0.9))


def test_without_truth_there_is_no_accuracy() -> None:
    """Disagreement with exit 0 stands for the error saved: the same regret where exits are sure."""
    scale = Scale(LABELS, None, COSTS, LAYERS)
    assert scale.losses == pytest.approx([0.1, 0.3 - 0.5])
    found = outcome(played([0, 1, 0, 0]), scale)
    assert found.accuracy is None
    assert found.regret["end"].mean == pytest.approx(3 * 0.3)
    assert found.to_dict()["accuracy"] is None


def test_after_a_change_regret_is_against_the_best_of_each_part() -> None:
    """Texts before the change are held against the best exit then, those after against that."""
    truth = np.array([1, 1, 0, 0], dtype=np.int8)  # of the last two texts exit 1 errs on one
    scale = Scale(LABELS, truth, COSTS, LAYERS, change=2)
    before, after = 0.6 - 0.3, 0.8 - 0.1
    assert scale.row_gaps() == pytest.approx(np.array([[before, 0]] * 2 + [[0, after]] * 2))
    assert outcome(played([0, 1, 0, 1]), scale).regret["end"].mean == pytest.approx(before + after)


def test_horizons_are_those_that_were_reached() -> None:
    """Regret is told at 1,000, 10,000 and 50,000 texts as far as there are so many."""
    labels = np.repeat(LABELS, 300, axis=0)
    scale = Scale(labels, np.repeat(TRUTH, 300), COSTS, LAYERS)
    orders = shuffles(1200, 2)
    found = outcome(Replay(orders, np.zeros(orders.shape, np.int8), ((), ())), scale)
    assert found.regret.keys() == {"1000", "end"}
    assert found.regret["1000"].mean == pytest.approx(300)
    assert len(found.curve) <= 400


def test_one_trial_has_no_spread() -> None:
    """The interval of a single trial is its value."""
    assert Regret.of(np.array([3.0])) == Regret(3, 0, 3, 3)


def test_choices_that_learn_nothing() -> None:
    """The oracle is the best fixed exit, every fixed exit is there, random plays all of them."""
    scale = Scale(LABELS, TRUTH, COSTS, LAYERS)
    orders = np.tile(np.arange(4), (2, 100))
    found = baselines(scale, orders)
    assert list(found) == ["oracle", "last", "random", "exit 0", "exit 1"]
    regrets = {
        name: outcome(Replay(orders, exits, ((), ())), scale).regret["end"].mean
        for name, exits in found.items()
    }
    assert regrets["oracle"] == regrets["last"] == regrets["exit 1"] == 0
    assert regrets["exit 0"] == pytest.approx(400 * 0.3)
    assert 0.4 < regrets["random"] / regrets["exit 0"] < 0.6


def test_what_does_not_fit_is_refused() -> None:
    """Other numbers of exits, no texts, and fleets that cannot be."""
    with pytest.raises(InvalidInput, match="2 layers and 1 cost for a matrix of 2 exits"):
        Scale(LABELS, TRUTH, (0.1,), LAYERS)
    with pytest.raises(InvalidInput, match="3 costs for a matrix of 2 exits"):
        replay(UeeUcb((0.1, 0.2, 0.3)), LABELS, shuffles(4, 1))
    with pytest.raises(InvalidInput, match="without texts"):
        replay(UeeUcb(COSTS), LABELS, np.zeros((1, 0), dtype=np.intp))
    for wrong in ({"workers": 0}, {"batch": 0}, {"delay": -1}):
        with pytest.raises(InvalidInput, match="expected at least 1, 1 and 0"):
            Fleet(**wrong)
    for text in ("1,x", "9" * 5000, "-1", "1,,2", "", "0.5", "1e9"):
        with pytest.raises(InvalidInput, match=f"--exits {text[:40]}: expected whole numbers"):
            parse_numbers(text, "--exits", int)
    for text in ("1,x", "nan", "inf", "-0.1"):
        with pytest.raises(InvalidInput, match=f"--errors {text}: expected numbers"):
            parse_numbers(text, "--errors", float)
    assert parse_numbers("1, 3,12", "--exits", int) == (1, 3, 12)


def test_orders_are_permutations_that_go_on() -> None:
    """Every trial has its own order; where texts are more than rows, rows come again."""
    orders = shuffles(10, 3, texts=25)
    assert orders.shape == (3, 25)
    for trial in orders:
        assert sorted(trial[:10]) == sorted(trial[10:20]) == list(range(10))
    assert len({tuple(trial) for trial in orders}) == 3
    assert np.array_equal(orders[1][:10], np.random.RandomState(1).permutation(10))


@pytest.mark.parametrize("violations", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("classes", [2, 4])
def test_made_up_domains_err_as_said(violations: float, classes: int) -> None:
    """Every exit's error rate is the one asked for, within four standard errors."""
    errors = (0.4, 0.2, 0.1, 0.0)
    domain = SyntheticDomain(errors, violations=violations, classes=classes, first_share=0.3)
    labels, truth = domain.texts(20_000, np.random.default_rng(0))
    assert labels.min() >= 0
    assert labels.max() == classes - 1
    for wanted, found in zip(errors, (labels != truth[:, None]).mean(axis=0), strict=True):
        assert abs(found - wanted) <= 4 * math.sqrt(wanted * (1 - wanted) / 20_000)
    assert abs((truth == 0).mean() - 0.3) <= 4 * math.sqrt(0.21 / 20_000)
    right = labels == truth[:, None]
    broken = (right[:, :-1] & ~right[:, 1:]).any(axis=1).mean()
    assert broken == 0 if violations == 0 else broken > 0.05 * violations


def test_the_best_exit_of_a_made_up_domain() -> None:
    """Least error plus cost, the first one of equals; constant exits say class 0."""
    domain = SyntheticDomain((0.3, 0.1, 0.05), constant=(1,))
    assert domain.best_exit((0.0, 0.1, 0.2)) == 1
    assert domain.best_exit((0.0, 0.2, 0.25)) == 0
    labels, _ = domain.texts(50, np.random.default_rng(0))
    assert not labels[:, 1].any()
    for wrong in ({"errors": ()}, {"errors": (1.5,)}, {"errors": (0.1,), "violations": -0.1}):
        with pytest.raises(InvalidInput, match=r"expected shares in 0\.\.1"):
            SyntheticDomain(**wrong)
    with pytest.raises(InvalidInput, match="2 classes or more"):
        SyntheticDomain((0.1,), classes=1)


def test_options_are_read_as_their_kind() -> None:
    """Numbers, words, lists and null become what the setting holds."""
    wanted = parse_options(["alpha=2", "algorithm=uee-ucb", "tolerance=0.02", "cost=[1,2]"])
    found = with_values(PolicySettings(), wanted)
    assert (found.alpha, found.algorithm) == (2.0, "uee-ucb")
    assert (found.tolerance, found.cost) == (0.02, (1, 2))
    assert type(found.alpha) is float
    assert with_values(found, {"tolerance": None}).tolerance is None
    for text, cost in (("split", "split"), ("0.1,.5,1", (0.1, 0.5, 1.0))):
        assert with_values(PolicySettings(), {"cost": text}).cost == cost


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("alpha", "'alpha': expected NAME=VALUE"),
        ("=1", "expected NAME=VALUE"),
        ("alhpa=1", "'alhpa' is unknown; did you mean alpha?"),
        ("alpha=x", "alpha 'x', expected a number"),
        ("alpha=true", "alpha True"),
        ("alpha=NaN", "alpha nan, expected a finite number"),
        ("alpha=-1", "alpha -1.0"),
        ("algorithm=best", "algorithm 'best' is unknown, expected default or uee-ucb"),
        ("prior=0", "'prior' is unknown"),
        ("tolerance=1", "tolerance 1.0, expected a share above 0, below 1"),
        ("cost=1,x", "cost 1,x: expected numbers with commas"),
        ("algorithm=7", "algorithm 7, expected a name"),
    ],
)
def test_options_that_cannot_be_are_named(option: str, message: str) -> None:
    """An unknown name, another kind of value, and a value out of range say what was expected."""
    with pytest.raises(InvalidInput, match=message):
        with_values(PolicySettings(), parse_options([option]))
