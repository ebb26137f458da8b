"""Words for people: intervals and the reasons of an exit."""

import pytest

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.reports.domain import domain_report
from policy_state.reports.explain import explain
from policy_state.reports.shares import Share
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot, PolicyMeta

LAYERS = (2, 6, 12)
UEE_UCB = PolicySettings("uee-ucb")


def said(
    stats: ExitStats,
    settings: PolicySettings = UEE_UCB,
    *,
    calibrated: bool = False,
    **record: object,
) -> str:
    """Return the explanation of a domain with these counters."""
    snapshot = DomainSnapshot(stats, 0, 5, **record)  # type: ignore[arg-type]
    meta = PolicyMeta("p", "f1", LAYERS, settings, calibrated=calibrated)
    rules = build(settings, LAYERS, credits=calibrated)
    report = domain_report("d", snapshot, meta, rules, pool=None)
    return " ".join(explain(report, snapshot, settings=settings))


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 10, 0.0, 0.278), (5, 20, 0.112, 0.469), (10, 10, 0.722, 1.0)],
)
def test_the_interval_is_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    """Known values of the 95 % interval; at the ends it stays a share."""
    share = Share.of(hits, trials)
    assert share is not None
    assert (share.low, share.high) == pytest.approx((low, high), abs=0.001)
    assert Share.of(0, 0) is None


def test_what_would_change_it_is_said() -> None:
    """The margin to the runner-up, and the cost weight at which the two would tie."""
    stats = ExitStats((900, 900, 900), (0, 300, 320), (0, 0, 900))
    text = said(stats)
    assert "After 900 texts exit 1 (layer 6)" in text
    assert "second best is exit 2 (layer 12), 0.0278 behind. That may be chance." in text
    clear = said(ExitStats((900, 900, 900), (0, 600, 400), (0, 0, 900)))
    assert "Strong Dominance" not in text
    assert (
        "behind. That is more than chance explains if, of two exits that differ, the deeper"
        in clear
    )
    tie = (320 - 300) / 900 / (12 / 12 - 6 / 12)
    assert f"So would a cost weight below {tie:.3g}; it is 0.1 now." in text


def test_what_operators_did_comes_first() -> None:
    """A pinned or frozen domain is explained by that, then by its counters."""
    stats = ExitStats((9, 9, 9), (0, 3, 3), (0, 0, 9))
    text = said(stats, pin=2, pin_reason="a contract", frozen=True)
    assert text.startswith(
        "An operator pinned it to exit 2 (layer 12) because: a contract. An operator froze it. "
    )


def test_a_domain_that_is_not_known_well_says_so() -> None:
    """Without texts, or with exits never observed, no margin is made up."""
    assert "No text has been counted yet" in said(ExitStats.zeros(3))
    text = said(ExitStats((5, 0, 0), (0, 0, 0), (5, 0, 0)))
    assert "no text has reached exit 1, 2 yet" in text
    assert "second best" not in text


def test_with_a_tolerance_it_is_what_is_told() -> None:
    """The cheapest exit certain to keep it, by how much; before that, what comes closest."""
    settings = PolicySettings(tolerance=0.02)
    assert "No text has run to the last exit yet" in said(ExitStats.zeros(3), settings)
    alike = ExitStats.from_texts([(0, 1, 1), (1, 1, 1)] * 500, exits=3)
    text = said(alike, settings)
    assert "exit 1 (layer 6) is the cheapest exit that is certain to make at most 2 % more" in text
    assert (
        "differed from the last exit's on 0.0% of 1000 texts, so it makes at most 0.7% more" in text
    )
    few = said(ExitStats.from_texts([(0, 1, 1)] * 20, exits=3), settings)
    assert "no cheaper exit is certain yet to make at most 2 % more errors" in few
    assert "so all texts go there. The closest one is exit 1 (layer 6)" in few
    free = PolicySettings(tolerance=0.02, cost_weight=0.0)
    assert said(alike, free) == text  # the weight has no say
    for each in (text, few):
        assert not [word for word in ("reward", "cost weight", "-0.0") if word in each]
        assert "best whether" not in each  # that is said of prices


def test_violations_are_told_as_the_least_there_are() -> None:
    """The counters do not tell a text that came back twice from two that did once."""
    once = [(0, 1, 0), (1, 1, 1)] * 50
    assert "At least 50.0% of 100 texts violate" in said(ExitStats.from_texts(once, exits=3))
    third = ExitStats.from_texts([(0, 1, 0), (1, 1, 2)] * 50, exits=3)
    assert "violate" not in said(third)  # of more than two classes that is not known


def test_where_exit_0_is_constant_the_last_exit_is_the_reference() -> None:
    """Shares, costs and the tie are then told against the last exit."""
    settings = PolicySettings()
    texts = [(0, 0, 0), (0, 1, 1)] * 450
    text = said(ExitStats.from_texts([*texts, *[(0, 0, 1)] * 18], exits=3), settings)
    assert "exit 1 (layer 6) has the best estimated reward, 0.0304: errors saved" in text
    assert "label differed from the last exit's on 2.0% of 918 texts" in text
    assert "and it costs 0.0500 less." in text
    assert "So would a cost weight below 0.0392; it is 0.1 now." in text
    deep = said(ExitStats.from_texts([(0, 0, 1), (0, 1, 0)] * 450, exits=3), settings)
    assert "reward, 0.0000. It is the last exit, with which all others are compared" in deep


def credited(texts: int) -> ExitStats:
    """Return counters of a calibrated model: each step changes labels, and is worth less."""
    rows = [(0, 1, 1), (0, 0, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)] * (texts // 5)
    credits = [(0, 500, 0), (0, 0, 100), (0, 0, 0), (0, 0, 0), (0, 0, 0)] * (texts // 5)
    scores = [(600, 800, 900)] * len(rows)
    chosen = [1 if n % 10 == 0 else None for n in range(len(rows))]
    return ExitStats.from_texts(rows, exits=3, credits=credits, scores=scores, chosen=chosen)


def test_steps_of_a_calibrated_model_are_worth_what_their_credits_say() -> None:
    """What a change of label saves stands in place of disagreement; Strong Dominance is not named.

    The last step changes 20 labels in 100, each worth a tenth of an error.
    """
    text = said(credited(1000), PolicySettings(), calibrated=True)
    assert "exit 1 (layer 6) has the best estimated reward, 0.0667: errors saved" in text
    assert "It saves about 10.0 errors in 100 texts and costs as much as 3.3 errors" in text
    assert (
        "The step to exit 2 (layer 12) changes 20.0% of labels. A change saves 0.10 errors on "
        "average, so the step saves 2.0 errors in 100 texts. It costs as much as 5.0 errors in"
    ) in text
    assert "more than chance explains if the calibration of the model holds" in text
    assert "Its label differed" not in text
    assert "Dominance" not in text
    assert "not calibrated" not in text


def test_credits_whose_squares_round_to_nothing_are_explained() -> None:
    """Each of 900 texts gains 10 thousandths: squared that is 0, which is less than the mean's."""
    stats = ExitStats.from_texts([(0, 1, 1)] * 900, exits=3, credits=[(0, 10, 0)] * 900)
    assert sum(stats.squares) == 0
    text = said(stats, PolicySettings(), calibrated=True)
    assert "The second best is exit 1 (layer 6), 0.0233 behind. That is more than chance" in text


def test_chance_is_allowed_to_move_all_steps_at_once() -> None:
    """Steps that come on the same hard texts deviate together: their deviations add up."""
    hard, texts = 275, 1000
    rows = [(0, 1, 0)] * hard + [(0, 0, 0)] * (texts - hard)
    credits = [(0, 50, 350)] * hard + [(0, 0, 0)] * (texts - hard)
    stats = ExitStats.from_texts(rows, exits=3, credits=credits)
    text = said(stats, PolicySettings(cost_weight=0.12), calibrated=True)
    assert "The second best is exit 0 (layer 2), 0.0100 behind. That may be chance." in text


def test_accuracy_and_holdout_are_in_words_with_their_doubt() -> None:
    """Shares with intervals, and what makes the estimate too high; nothing where nothing is known.

    Exit 1 differs from the last on 20 of 100 texts, and the last is right on 90 by its confidence.
    """
    text = said(credited(1000), PolicySettings(), calibrated=True)
    assert "By the confidence of the model, exit 1 (layer 6) is right about 74.0% of" in text
    assert "and the last exit about 90.0%. If the texts are unlike those of the calibration" in text
    assert "The holdout has 100 texts that ran to the last exit only to measure." in text
    assert "100.0% of them the label of full depth (95 % interval: 96.3% to 100.0%)" in text
    assert "would have saved 50.0% of the layers" in text
    bare = said(ExitStats.from_texts([(0, 1, 1), (1, 1, 1)] * 99, exits=3), PolicySettings())
    assert "holdout" not in bare
    assert "confidence" not in bare


def test_a_model_without_calibration_is_told_what_that_costs() -> None:
    """By the default algorithm only: UEE-UCB never uses a calibration."""
    stats = ExitStats.from_texts([(0, 1, 1), (1, 1, 1)] * 99, exits=3)
    assert "not calibrated, so every change of label counts as an error saved" in said(
        stats, PolicySettings()
    )
    assert "not calibrated" not in said(stats)


def test_a_tolerance_is_explained_by_credits_too() -> None:
    """The bound that is told is the one that decided: credits may be certain, disagreement not."""
    text = said(credited(3000), PolicySettings(tolerance=0.05), calibrated=True)
    assert "exit 1 (layer 6) is the cheapest exit that is certain to make at most 5 % more" in text
    assert "differed from the last exit's on 20.0% of 3000 texts. These changes save" in text
    assert "about 2.0 errors in 100 texts, so it makes at most 2." in text
