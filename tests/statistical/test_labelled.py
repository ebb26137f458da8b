"""Labels correct a choice that credits get wrong, and leave alone one that they get right."""

import numpy as np
from numpy.typing import NDArray

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.labelled import LabelledDuels
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats
from policy_state.store.values import DomainSnapshot

LAYERS = (1, 3, 7, 12)
ALGORITHM = build(PolicySettings(cost_weight=0.3), LAYERS, credits=True)
DOMAINS, TEXTS, LABELLED = 100, 2000, 1000

Texts = tuple[NDArray[np.int8], NDArray[np.int8]]


def step_worth_nothing(count: int, rng: np.random.Generator) -> Texts:
    """Return texts whose exits 0 and 1 differ on a third, each right on half of those."""
    labels, truth = SyntheticDomain((0.2,) * 4).texts(count, rng)
    differ = rng.random(count) < 1 / 3
    labels[differ, 0] = rng.integers(0, 2, int(differ.sum()))
    labels[differ, 1:] = 1 - labels[differ, :1]
    return labels, truth


def snapshot(labels: NDArray[np.int8], credits: NDArray[np.integer]) -> DomainSnapshot:
    """Return a domain with these counters."""
    return DomainSnapshot(ExitStats.from_matrix(labels, credits=credits), 0, 1)


def exits(domain: DomainSnapshot, texts: Texts) -> tuple[int, int]:
    """Return the exit without labels, and with those of some texts."""
    labelled = LabelledDuels.of(texts[0].tolist(), texts[1].tolist(), exits=4)
    corrected = DomainSnapshot(domain.stats, 0, 1, labels=labelled).corrected
    return ALGORITHM.assess(domain.stats).exit, ALGORITHM.assess(corrected).exit


def test_labels_bring_a_domain_back_from_a_step_worth_nothing() -> None:
    """Credits that think a step worth half an error a change go too deep, whatever they see."""
    rng, found = np.random.default_rng(1), []
    for _ in range(DOMAINS):
        labels, truth = step_worth_nothing(TEXTS, rng)
        credits = 500 * (np.diff(labels, axis=1, prepend=labels[:, :1]) != 0)
        labelled = labels[:LABELLED], truth[:LABELLED]
        found.append(exits(snapshot(labels, credits), labelled))
    before, after = zip(*found, strict=True)
    assert set(before) == {1}
    assert after.count(0) >= 0.9 * DOMAINS


def test_labels_leave_a_right_choice_alone() -> None:
    """Where credits are right on average, chance in 1,000 labels moves few domains."""
    rng, stayed, right = np.random.default_rng(2), 0, 0
    domain = SyntheticDomain((0.35, 0.2, 0.08, 0.07), violations=0.2)
    best = domain.best_exit(ALGORITHM.costs)
    for _ in range(DOMAINS):
        labels, truth = domain.texts(TEXTS, rng)
        labelled = labels[:LABELLED], truth[:LABELLED]
        seen = snapshot(labels, SyntheticDomain.credits(labels, truth))
        before, after = exits(seen, labelled)
        stayed += before == after
        right += after == best
    assert stayed >= 0.9 * DOMAINS
    assert right >= 0.9 * DOMAINS
