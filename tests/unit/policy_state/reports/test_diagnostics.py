"""What is said of a choice without labels: each warning where it is due, and nowhere else."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from policy_state.algorithms.arrays import Assessment, Counters
from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.diagnosis import Diagnosis, diagnose, falling_disagreement
from policy_state.stats import COUNT_MAX, ExitStats

LAYERS = (1, 3, 7, 12)
CLEAN = [(0, 1, 1, 1)] * 300 + [(1, 1, 1, 1)] * 400 + [(0, 0, 0, 0)] * 300


def diagnosed(texts: Sequence[tuple[int, ...]], **settings: Any) -> Diagnosis:
    """Return the diagnosis of a domain with these texts."""
    stats = ExitStats.from_texts(texts, exits=4)
    policy = build(PolicySettings(**settings), LAYERS)
    return diagnose(stats, policy.assess(stats), policy.costs)


def test_a_clean_domain_has_no_warnings() -> None:
    """Under Strong Dominance everything speaks for the choice."""
    found = diagnosed(CLEAN)
    assert found.warnings == ()
    assert found.violations is not None
    assert found.violations.share == 0
    assert (found.falling, found.constant, found.drifts) == ((), (), 0)
    assert found.certificate is not None
    assert found.certificate.holds
    assert (found.certificate.first_anchored, found.certificate.last_anchored) == (1, 1)
    assert found.agreement is not None
    assert (found.agreement.share, found.agreement.texts) == (1, 1000)
    assert found.extra_error is not None
    assert found.extra_error[0] == pytest.approx(0.35, abs=0.02)
    assert found.extra_error[1] < 0.01


def test_labels_that_come_back_violate_dominance() -> None:
    """A text whose label leaves exit 0's and returns is a violation, whoever is right."""
    found = diagnosed([*CLEAN, *[(0, 1, 0, 0)] * 50])
    assert found.violations is not None
    assert found.violations.share == 50 / 1050
    apart = diagnosed([*CLEAN, *[(0, 1, 0, 0)] * 50, *[(0, 0, 1, 0)] * 50]).violations
    assert apart is not None
    assert 50 / 1100 <= apart.share <= 100 / 1100
    two = ExitStats.from_texts([(0, 1)] * 9, exits=2)
    policy = build(PolicySettings(), (6, 12))
    assert diagnose(two, policy.assess(two), policy.costs).violations is None  # cannot return


def test_with_three_classes_no_violation_is_claimed() -> None:
    """Labels that left exit 0's and came back may all be wrong: the truth may be the third."""
    found = diagnosed([*CLEAN, *[(0, 1, 0, 2)] * 200])
    assert found.violations is None
    assert not [each for each in found.warnings if "Strong Dominance" in each]
    assert found.warnings[0].endswith("the deeper exit 2; one of the two is wrong there")


def test_falling_disagreement_names_the_exit_that_errs() -> None:
    """A middle exit that disagrees more than deeper ones is told with the clearest of them."""
    found = diagnosed([*CLEAN, *[(0, 1, 0, 0)] * 200])
    (fall,) = found.falling
    assert (fall.exit, fall.deeper) == (1, 2)
    assert fall.fall == pytest.approx(200 / 1200)
    assert found.warnings[0] == (
        "exit 1 disagrees with exit 0 on 16.7% more of the texts than the deeper exit 2; one "
        "of the two is wrong there, so Strong Dominance does not hold"
    )
    few = [*CLEAN, (0, 1, 0, 0)]
    assert diagnosed(few).falling == ()  # within chance
    short = ExitStats.from_texts([(0, 1)] * 500, exits=4)
    assert falling_disagreement(Counters.of(short)) == ()  # deeper exits were never observed


def test_constant_exits_are_told() -> None:
    """Which ones; and, where it is exit 0, that the last exit is the reference."""
    one = diagnosed([(0, 1, 0, 0), (1, 1, 1, 1)] * 300)
    assert one.constant == (1,)
    assert [w for w in one.warnings if w.startswith("exit 1 gives (nearly) all texts")]
    assert not [w for w in one.warnings if "compared with the last exit" in w]
    for settings in ({"algorithm": "uee-ucb"}, {"tolerance": 0.02}):  # which leave none out
        told = " ".join(diagnosed([(0, 0, 0, 0), (0, 0, 1, 1)] * 300, **settings).warnings)
        assert "gives (nearly) all texts the same label; train" in told
        assert "compared with the last exit" not in told
    first = diagnosed([(0, 0, 0, 0), (0, 0, 1, 1)] * 300)
    assert first.constant == (0, 1)
    assert [w[:12] for w in first.warnings[:2]] == ["exit 0 gives", "exit 1 gives"]
    assert "compared with the last exit" in first.warnings[2]
    assert first.certificate is None  # seen from exit 0 there is nothing


def test_the_certificate_fails_where_the_two_rules_part() -> None:
    """An exit that differs from both ends is best from the first and bad from the last."""
    found = diagnosed([*CLEAN, *[(0, 1, 1, 0)] * 150])
    assert found.certificate is not None
    assert (found.certificate.first_anchored, found.certificate.last_anchored) == (1, 3)
    assert not found.certificate.holds
    assert found.warnings[-1] == (
        "exit 1 is best if exits are compared with the first one, but exit 3 if they are compared "
        "with the last one; labels show which is right"
    )


def test_the_certificate_leaves_constant_exits_out() -> None:
    """An exit that is never chosen does not make the two rules part."""
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=2000)
    first = np.where(rng.random(2000) < 0.2, 1 - truth, truth)
    labels = np.stack([first, np.ones_like(truth), truth, truth], axis=1)
    found = diagnosed([tuple(row) for row in labels.tolist()])
    assert found.constant == (1,)
    assert found.certificate is not None
    assert found.certificate.holds


def test_nothing_is_made_up_of_no_texts() -> None:
    """Before any text, and before one ran to the end, what needs it is None."""
    found = diagnosed([])
    assert (found.violations, found.agreement, found.certificate) == (None, None, None)
    assert (found.extra_error, found.confidence, found.warnings) == (None, None, ())
    short = diagnosed([(0, 1)] * 50)
    assert (short.agreement, short.certificate, short.extra_error) == (None, None, None)


@pytest.mark.parametrize("cost_weight", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("differing", [0.05, 0.3, 0.6])
def test_texts_to_flip_flip_the_choice_and_one_less_does_not(
    cost_weight: float, differing: float
) -> None:
    """So many texts that speak for the runner-up and against the choice, added, make it best."""
    policy = build(PolicySettings("uee-ucb", cost_weight=cost_weight), (6, 12))
    texts = int(1000 * differing)
    stats = ExitStats.from_texts([(0, 1)] * texts + [(1, 1)] * (1000 - texts), exits=2)
    before = policy.assess(stats)
    found = diagnose(stats, before, policy.costs).confidence
    if before.exit == 0:  # texts on which the exits differ speak for exit 1
        against = ExitStats.from_labels((0, 1), exits=2)
        assert found is not None
        assert found.runner_up == 1
        wanted = found.texts_to_flip
        # One more: of equal rewards UEE-UCB keeps the first.
        flipped, kept = (sum([against] * n, stats) for n in (wanted + 1, wanted - 1))
        assert policy.assess(flipped).exit == 1
        assert policy.assess(kept).exit == 0
    else:  # a text can only fail to differ: it takes the whole lead, text by text
        assert found is not None
        rewards = [reward for reward in before.rewards if reward is not None]
        assert found.margin == pytest.approx(rewards[1] - rewards[0])
        cost = policy.costs[1] - policy.costs[0]
        assert found.texts_to_flip == int(np.ceil(found.margin * 1000 / (1 + cost) - 1e-9))


def test_the_runner_up_is_one_that_could_be_chosen() -> None:
    """Neither a constant exit, nor one so much dearer that no text makes up for it."""
    stats = ExitStats.from_texts([(0, 1, 0, 0), (1, 1, 1, 1)] * 300, exits=4)
    policy = build(PolicySettings(), LAYERS)
    found = diagnose(stats, policy.assess(stats), policy.costs)
    assert found.confidence is not None
    assert found.confidence.runner_up == 2
    dear = build(PolicySettings(cost=(0.0, 2.0), cost_weight=1.0), (6, 12))
    two = ExitStats.from_texts([(0, 1)] * 9, exits=2)
    assert diagnose(two, dear.assess(two), dear.costs).confidence is None


def test_no_confidence_in_rewards_that_do_not_choose() -> None:
    """By tolerance, or where an exit of larger reward is not the choice, no margin is made up."""
    assert diagnosed(CLEAN, tolerance=0.05).confidence is None
    stats = ExitStats.from_texts(CLEAN, exits=4)
    other = Assessment(exit=2, rewards=(0.0, 0.3, 0.2, 0.1), indices=(0.0, 0.3, 0.2, 0.1))
    assert diagnose(stats, other, (0.0, 0.0, 0.0, 0.0)).confidence is None


def test_a_cost_that_is_next_to_nothing_can_be_diagnosed() -> None:
    """However many texts it would take to change the choice, their number is one that can be."""
    texts = [(0, 1)] * 500 + [(0, 0)] * 500
    stats = ExitStats.from_texts(texts, exits=2, credits=[(0, 600)] * 500 + [(0, 0)] * 500)
    policy = build(PolicySettings(cost_weight=1e-320), (6, 12), credits=True)
    confidence = diagnose(stats, policy.assess(stats), policy.costs, credits=True).confidence
    assert confidence is not None
    assert confidence.texts_to_flip == COUNT_MAX
