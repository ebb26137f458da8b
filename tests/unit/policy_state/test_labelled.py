"""Labels that came late correct the worth of steps, with a capped weight, and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.contradictions import contradictions
from policy_state.errors import InvalidInput
from policy_state.labelled import CREDITED_DUELS, LABELLED_DUELS_MOST, LabelledDuels, corrected
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot
from tests.support.policies.algorithms import LAYERS, learnt


@st.composite
def labelled(draw: st.DrawFn, exits: int = 4, duels: int = 2000) -> LabelledDuels:
    """Return labels of a domain."""
    counts = st.lists(st.integers(0, duels), min_size=3, max_size=3).map(sorted)
    rows = [(0, 0, 0)]
    for low, middle, high in draw(st.lists(counts, min_size=exits - 1, max_size=exits - 1)):
        rows.append((high, low, middle - low))
    kinds = list(zip(*rows, strict=True))
    return LabelledDuels(max(kinds[0]) + draw(st.integers(0, 9)), *kinds)


@given(labels=labelled(), seed=st.integers(0, 20))
def test_steps_without_labelled_duels_keep_their_credits(labels: LabelledDuels, seed: int) -> None:
    """Without labels the counters are the very same; with them all but credits of duels are."""
    stats = learnt(4, 300, seed=seed)
    none = LabelledDuels(labels.texts, (0,) * 4, (0,) * 4, (0,) * 4)
    assert corrected(stats, None) is stats
    assert corrected(stats, none) is stats
    after = corrected(stats, labels)
    assert replace(after, credit=stats.credit, squares=stats.squares) == stats
    for j, duels in enumerate(labels.duels):
        if not duels or not stats.duels[j]:
            assert (after.credit[j], after.squares[j]) == (stats.credit[j], stats.squares[j])
        assert 0 <= after.squares[j] <= after.credit[j] <= 1000 * stats.duels[j]
    assert not contradictions(after)


@given(labels=labelled())
def test_labels_weigh_as_their_duels_up_to_a_cap(labels: LabelledDuels) -> None:
    """The worth lies between what credits and labels say, by the weights of both."""
    stats = ExitStats.from_texts(
        [(0, 1, 0, 1)] * 400, exits=4, credits=[(0, 600, 300, 0)] * 400, scores=None
    )
    after = corrected(stats, labels)
    for j, before in ((1, 0.6), (2, 0.3), (3, 0.0)):
        weight = min(labels.duels[j], LABELLED_DUELS_MOST)
        won = (labels.wins[j] - labels.losses[j]) / max(1, labels.duels[j])
        worth = (CREDITED_DUELS * before + weight * won) / (CREDITED_DUELS + weight)
        assert after.credit[j] / (1000 * stats.duels[j]) == pytest.approx(max(0, worth), abs=1e-5)


def test_a_change_of_label_is_corrected_in_every_text_alike() -> None:
    """The spread of a step shrinks with its worth, so that bounds stay as wide as they should."""
    credits = [(0, 200), (0, 800), (0, 0), (0, 0)] * 100
    texts = [(0, 1), (0, 1), (1, 1), (1, 1)] * 100
    stats = ExitStats.from_texts(texts, exits=2, credits=credits)
    half = LabelledDuels(1000, (0, 500), (0, 100), (0, 0))  # worth 0.2, where credits say 0.5
    share = (25 * 0.5 + 500 * 0.2) / 525 / 0.5
    scaled = [tuple(round(share * credit) for credit in text) for text in credits]
    wanted = ExitStats.from_texts(texts, exits=2, credits=scaled)
    after = corrected(stats, half)
    assert after.credit[1] == pytest.approx(wanted.credit[1], rel=0.01)
    assert after.squares[1] == pytest.approx(wanted.squares[1], rel=0.02)


@given(labels=labelled(exits=3))
def test_labels_read_back_the_same(labels: LabelledDuels) -> None:
    """As a line of numbers they are kept in stores and in the policy topic."""
    assert LabelledDuels.from_text(labels.to_text()) == labels


@pytest.mark.parametrize(
    "text",
    ["", "x", "5", "5 0 0", "5 0 0 0 1", "5 0 0 0 3 2 2", "5 0 0 0 9 0 0", "-1 0 0 0", "5 1 0 0"],
)
def test_other_text_is_refused(text: str) -> None:
    """What no labels can have said is an error that says what was expected."""
    with pytest.raises(ValueError, match="expected the number of texts"):
        LabelledDuels.from_text(text)


def test_labels_of_no_texts_are_refused() -> None:
    """More duels than texts, or duels that were won twice, cannot be."""
    with pytest.raises(InvalidInput, match="of 1 text cannot be"):
        LabelledDuels(1, (0, 2), (0, 1), (0, 1))
    with pytest.raises(InvalidInput, match="different exits"):
        LabelledDuels(1, (0, 1), (0,), (0, 0))


@pytest.mark.parametrize("name", ["uee-ucb", "default"])
def test_an_algorithm_without_credits_does_not_heed_labels(name: str) -> None:
    """UEE-UCB, and the default for a model without calibration, choose as before."""
    stats = learnt(4, 500)
    labels = LabelledDuels(900, (0, 900, 900, 900), (0,) * 4, (0, 900, 900, 900))
    snapshot = DomainSnapshot(stats, 0, 5, labels=labels)
    algorithm = build(PolicySettings(name), LAYERS[4])
    assert snapshot.corrected != stats
    assert algorithm.assess(snapshot.corrected) == algorithm.assess(stats)
    assert algorithm.decide(snapshot.corrected, 64) == algorithm.decide(stats, 64)
