"""Measures what labels that come late are worth to a domain of a calibrated model.

`--matrices` is as for `benchmarks.policy.changing`. A random half of the texts of each domain has
labels, the first so many of them; the other half is what the domain has seen, and what judges its
exit. Regret is in errors per 10,000 texts, compared with the best exit by the truth.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.policy.cases import Case, calibrated_cases
from benchmarks.policy.estimates import WEIGHTS, counted_often, mean_and_worst
from benchmarks.report import Goal, Report, Table, hand_in, parser
from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.labelled import CREDITED_DUELS, LabelledDuels, corrected

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELLED = (0, 50, 100, 200, 300)
CREDITED = (10, CREDITED_DUELS, 50, 100)


def main(given: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    cases, options = calibrated_cases(parser("policy.labelled", __doc__), given, quick=2)
    hand_in(measure(cases, 2 if options.quick else 20), options)


def measure(cases: Sequence[Case], halves: int) -> Report:
    """Measure labels in domains of calibrated models, each domain halved so many times."""
    report, rows, others = Report("labelled"), [], []
    for weight in WEIGHTS:
        by_credited = {
            credited: [_regrets(case, weight, halves, credited) for case in cases]
            for credited in CREDITED
        }
        for credited, found in by_credited.items():
            means = [round(statistics.mean(column), 1) for column in zip(*found, strict=True)]
            others.append((weight, credited, *means))
        found = by_credited[CREDITED_DUELS]
        models = [case.name.split(", ")[0] for case in cases]
        for model in (*dict.fromkeys(models), "all"):
            of = [each for each, name in zip(found, models, strict=True) if model in (name, "all")]
            cells = [mean_and_worst(column) for column in zip(*of, strict=True)]
            rows.append((weight, model, len(of), *cells))
        alone, *with_labels = (statistics.mean(column) for column in zip(*found, strict=True))
        for labels, regret in zip(LABELLED[1:], with_labels, strict=True):
            name = f"regret with {labels} labels over that without, cost weight {weight:g}"
            report.goals.append(Goal.at_most(name, 1, regret / max(alone, 1.0)))
    labels_said = [f"{many} labels" for many in LABELLED]
    columns = ("cost weight", "domains of", "domains", *labels_said)
    report.tables.append(Table("Regret: mean (worst domain)", columns, tuple(rows)))
    title = "Mean regret of all domains, by the labelled duels that credits count for"
    report.tables.append(Table(title, ("cost weight", "duels", *labels_said), tuple(others)))
    report.notes.append(f"{halves} random halves of each domain, and the mean of their regrets")
    return report


def _regrets(case: Case, weight: float, halves: int, credited: int) -> list[float]:
    """Return the mean regret of a domain, for each number of labels."""
    rng, found = np.random.default_rng(0), []
    for _ in range(halves):
        rows = rng.permutation(len(case.labels))
        middle = len(rows) // 2
        labelled, seen = case.taken(rows[:middle]), case.taken(rows[middle:])
        found.append(_on_a_half(labelled, seen, weight, credited))
    means: NDArray[np.float64] = np.mean(found, axis=0)
    return [float(mean) for mean in means]


def _on_a_half(labelled: Case, seen: Case, weight: float, credited: int) -> list[float]:
    layers = seen.layers
    rules = build(PolicySettings(cost_weight=weight), layers, credits=True)
    stats = counted_often(seen)
    reward = (seen.labels == seen.truth[:, None]).mean(axis=0) - np.array(rules.costs)
    texts, truth = labelled.labels.tolist(), labelled.truth.tolist()
    found = []
    for many in LABELLED:
        labels = LabelledDuels.of(texts[:many], truth[:many], exits=len(layers))
        exit_ = rules.assess(corrected(stats, labels, credited=credited)).exit
        found.append(10_000 * float(reward.max() - reward[exit_]))
    return found


if __name__ == "__main__":
    main()
