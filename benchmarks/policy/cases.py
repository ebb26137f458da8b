"""The cases that algorithms are measured on: matrices, costs, orders, changes."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policy_state.algorithms.base import build
from policy_state.algorithms.settings import PolicySettings
from policy_state.simulation.matrix import read_matrix
from policy_state.simulation.outcomes import Scale
from policy_state.simulation.replay import shuffles
from policy_state.simulation.synthetic import SyntheticDomain
from policy_state.stats import ExitStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PUBLISHED = "Exit_Predictions_TrainDevTest_IMDb_{exits}exits.csv"
_LAYERS = {4: (1, 3, 7, 12), 6: (1, 3, 5, 7, 9, 12)}
_ALL = 100  # domains of a model, at most
_DOMAIN_TEXTS = 10_000
_DRIFT_PAIRS = 4  # per model: those whose change costs most
_LEAST_DRIFT = 0.02
MISLEADING = "a pool that says exit 0"
_POOL_TEXTS = 2_000  # that each other domain has seen


@dataclass(frozen=True, slots=True)
class Case:
    """One matrix with its costs, and how its texts come."""

    name: str
    model: str
    labels: NDArray[np.int8]
    truth: NDArray[np.int8]
    layers: tuple[int, ...]
    changes: dict[str, Any] = field(default_factory=dict)  # to the settings
    texts: int | None = None  # None: every row once
    change: int | None = None  # the row from which on the domain is another one
    pool: ExitStats | None = None
    credits: NDArray[np.int16] | None = None  # of a calibrated model, in thousandths
    scores: NDArray[np.int16] | None = None
    worth: tuple[float, ...] | None = None  # of each step, by the calibration

    def shortened(self, texts: int) -> Case:
        """Return the case with its first so many texts only, of each half where it drifts."""
        if self.change is None:
            return replace(self, texts=min(texts, self.texts or len(self.labels)))
        keep = np.r_[0 : min(texts, self.change), self.change : self.change + texts]
        keep = keep[keep < len(self.labels)]
        return replace(self.taken(keep), change=min(texts, self.change))

    def taken(self, rows: NDArray[np.intp]) -> Case:
        """Return the case with these rows only."""
        return replace(
            self,
            labels=self.labels[rows],
            truth=self.truth[rows],
            credits=None if self.credits is None else self.credits[rows],
            scores=None if self.scores is None else self.scores[rows],
        )

    def settings(self) -> PolicySettings:
        """Return the settings for this case."""
        return PolicySettings(**self.changes)

    def scale(self) -> Scale:
        """Return what each exit is worth here."""
        costs = build(self.settings(), self.layers).costs
        return Scale(self.labels, self.truth, costs, self.layers, self.change)

    def orders(self, trials: int) -> NDArray[np.intp]:
        """Return the order of each trial, (trials, texts)."""
        if self.change is None:
            return shuffles(len(self.labels), trials, texts=self.texts)
        rest = len(self.labels) - self.change
        halves = (shuffles(self.change, trials), self.change + shuffles(rest, trials))
        return np.concatenate(halves, axis=1)


def reference_cases(folder: Path | None) -> list[Case]:
    """Return the published matrices with both of the paper's costs; none where absent."""
    found: list[Case] = []
    if folder is None:
        return found
    for exits, layers in _LAYERS.items():
        path = folder / _PUBLISHED.format(exits=exits)
        if not path.exists():
            continue
        labels, truth, *_ = read_matrix(path)
        assert truth is not None
        found += [
            Case(
                f"{exits} exits, {cost}",
                "",
                labels,
                truth,
                layers,
                {"cost": cost, "cost_weight": 1.0},
            )
            for cost in ("layers", "split")
        ]
    return found


def domain_cases(folder: Path | None, most: int) -> list[Case]:
    """Return at most `most` matrices of each of our models; none without a folder."""
    if folder is None:
        return []
    found = []
    for model in sorted(path for path in folder.iterdir() if path.is_dir()):
        facts = json.loads((model / "model.json").read_text(encoding="utf-8"))
        layers = tuple(facts["layers"])
        for path in sorted(model.glob("*.tsv"))[:most]:
            matrix = read_matrix(path)
            assert matrix.truth is not None
            found.append(
                Case(
                    f"{facts['name']}, {path.stem.split('-')[0]}",
                    model.name,
                    matrix.labels,
                    matrix.truth,
                    layers,
                    texts=_DOMAIN_TEXTS,
                    credits=matrix.credits,
                    scores=matrix.scores,
                    worth=tuple(facts["worth"]) if "worth" in facts else None,
                )
            )
    return found


def calibrated_cases(
    arguments: ArgumentParser, given: Sequence[str] | None, *, quick: int = _ALL
) -> tuple[list[Case], Namespace]:
    """Return the cases of the calibrated models in `--matrices`, and all options.

    A quick run has at most `quick` domains of each model. The process ends with an error if the
    folder has no such model, and with success if no folder is given.
    """
    arguments.add_argument("--matrices", type=Path, metavar="FOLDER")
    options = arguments.parse_args(given)
    if options.matrices is None:
        arguments.exit(message="without --matrices there is nothing to measure\n")
    most = quick if options.quick else _ALL
    cases = [case for case in domain_cases(options.matrices, most) if case.credits is not None]
    if not cases:
        arguments.error(f"{options.matrices}: there is no matrix of a calibrated model")
    return cases, options


def drift_cases(domains: Sequence[Case]) -> list[Case]:
    """Return made-up changes, and those from one real domain to another that cost most."""
    rng = np.random.default_rng(0)
    shapes = {
        "made up: deep to shallow": ((0.35, 0.2, 0.1, 0.09), (0.1, 0.1, 0.1, 0.1)),
        "made up: shallow to deep": ((0.1, 0.1, 0.1, 0.1), (0.35, 0.2, 0.1, 0.09)),
        "made up: one exit deeper": ((0.3, 0.1, 0.09, 0.09), (0.3, 0.25, 0.1, 0.09)),
    }
    found = []
    for name, errors in shapes.items():
        halves = [SyntheticDomain(e, violations=0.1).texts(_DOMAIN_TEXTS // 2, rng) for e in errors]
        found.append(_spliced(name, *(Case("", "", *half, _LAYERS[4]) for half in halves)))
    for model in dict.fromkeys(case.model for case in domains):
        pairs = permutations([case for case in domains if case.model == model], 2)
        costly = sorted(pairs, key=lambda pair: -_lost(*pair))[:_DRIFT_PAIRS]
        for old, new in costly:
            if _lost(old, new) >= _LEAST_DRIFT:
                name = f"{old.name} to {new.name.split(', ')[1]}"
                drawn = (_drawn(case, _DOMAIN_TEXTS // 2) for case in (old, new))
                found.append(_spliced(name, *drawn))
    return found


def cold_start_cases(domains: Sequence[Case]) -> dict[str, list[Case]]:
    """Return every domain as a new one: alone, after all others, after a pool that is wrong."""
    found: dict[str, list[Case]] = {"nothing": [], "pool": [], MISLEADING: []}
    for case in domains:
        others = [c for c in domains if c.model == case.model and c is not case]
        drawn = [_drawn(other, _POOL_TEXTS) for other in others]
        learnt = [ExitStats.from_matrix(each.labels, credits=each.credits) for each in drawn]
        exits = len(case.layers)
        pools = {
            "nothing": None,
            "pool": sum(learnt, ExitStats.zeros(exits)),
            MISLEADING: ExitStats.from_texts([(0,) * exits] * 20_000, exits=exits),
        }
        for name, pool in pools.items():
            found[name].append(replace(case, pool=pool))
    return found if domains else {}


def flat_first_exit_case() -> Case:
    """Return a domain whose first exit says the same of every text."""
    domain = SyntheticDomain((0.5, 0.35, 0.1, 0.09), violations=0.1, constant=(0,))
    labels, truth = domain.texts(_DOMAIN_TEXTS, np.random.default_rng(1))
    return Case("first exit constant", "", labels, truth, _LAYERS[4])


def equal_cost_case() -> Case:
    """Return a domain where the shallower of two exits at one cost errs, and so disagrees, more."""
    domain = SyntheticDomain((0.2, 0.25, 0.1, 0.1), violations=0.5)
    labels, truth = domain.texts(_DOMAIN_TEXTS, np.random.default_rng(2))
    costs = {"cost": (0.1, 0.5, 0.5, 1.0), "cost_weight": 0.1}
    return Case("equal costs", "", labels, truth, _LAYERS[4], costs)


def _spliced(name: str, old: Case, new: Case) -> Case:
    """Return a domain that becomes another one after all its texts."""
    credits = None
    if old.credits is not None and new.credits is not None:
        credits = np.concatenate((old.credits, new.credits))
    return Case(
        name,
        old.model,
        np.concatenate((old.labels, new.labels)),
        np.concatenate((old.truth, new.truth)),
        old.layers,
        change=len(old.labels),
        credits=credits,
    )


def _drawn(case: Case, texts: int) -> Case:
    """Return this number of its texts, again and again if it has fewer."""
    return case.taken(shuffles(len(case.labels), 1, texts=texts)[0])


def _lost(old: Case, new: Case) -> float:
    """Return what a text of the new domain loses at the best exit of the old one."""
    losses = new.scale().losses
    return float(losses[int(np.argmin(old.scale().losses))] - losses.min())
