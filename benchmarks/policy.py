"""Measures the policies: regret on recorded exit matrices, alone and in fleets, drift, new domains.

`--reference` holds the published matrices of the paper's authors
(`Exit_Predictions_TrainDevTest_IMDb_{4,6}exits.csv`); `--matrices` what
`python -m benchmarks.models --matrices DIR` wrote, a folder a model with a matrix a domain. Regret
is in units of error: 10 stands for ten texts more labelled wrong, or as much cost, than by the best
fixed exit. Without a folder what it is for stays unmeasured.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.policy_cases import (
    Case,
    cold_start_cases,
    domain_cases,
    drift_cases,
    equal_cost_case,
    flat_first_exit_case,
    reference_cases,
)
from benchmarks.policy_plot import plot_curves
from benchmarks.report import Goal, Report, Table, hand_in, parser
from policy_state.outcomes import Outcome, outcome
from policy_state.policy import build
from policy_state.replay import Fleet, Replay, replay
from policy_state.settings import PolicySettings

FLEETS = {"1 x 1": Fleet(), "4 x 128": Fleet(4, 128), "16 x 512": Fleet(16, 512)}
ABLATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "index = kl": {"index": "kl"},
    "monotone = false": {"monotone": False},
    "scouts = 0 (all)": {"scouts": 0.0},
    "prior = 0": {"prior": 0.0},
    "probe_cost = 0": {"probe_cost": 0.0},
    "screen = false": {"screen": False},
    "drift = 0": {"drift": 0.0},
    "uee-ucb": {"policy": "uee-ucb"},
}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    trials: int
    ablation_trials: int
    domains: int  # per model
    drift_trials: int
    cases: int  # of a kind, for the ablations
    texts: int  # of every case, for the ablations


FULL = Size(trials=20, ablation_trials=5, domains=100, drift_trials=10, cases=12, texts=50_000)
QUICK = Size(trials=2, ablation_trials=1, domains=1, drift_trials=2, cases=2, texts=1_000)
_NEAR = 0.01
_WINDOW_TEXTS = 100
_WINDOW_RIGHT = 80


def main() -> None:
    """Parse the command line, measure, write."""
    arguments = parser("policy", __doc__)
    arguments.add_argument(
        "--reference", type=Path, metavar="FOLDER", help="the exit matrices of the paper's authors"
    )
    arguments.add_argument(
        "--matrices",
        type=Path,
        metavar="FOLDER",
        help="exit matrices of own models, as benchmarks.models keeps them",
    )
    options = arguments.parse_args()
    plot = options.out and options.out / "policy.png"
    size = QUICK if options.quick else FULL
    hand_in(measure(options.reference, options.matrices, size, plot=plot), options)


def measure(
    reference: Path | None, matrices: Path | None, size: Size, *, plot: Path | None = None
) -> Report:
    """Run every part and return the report."""
    report = Report("policy")
    published, domains = reference_cases(reference), domain_cases(matrices, size.domains)
    if not published:
        report.notes.append("the published matrices were not given: their goals are unmeasured")
    curves = _reference_part(report, published, size)
    if curves and plot:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot_curves(curves, plot)
    _domain_part(report, domains, size)
    _drift_part(report, drift_cases(domains), size)
    _cold_start_part(report, domains, size)
    _ablation_part(report, published, domains, size)
    report.notes += [
        "regret: mean over trials, each with the texts in another order, against the best exit",
        "4 x 128: four workers decide on 128 texts each before they learn of one another",
        "cost weight 1 on the published matrices, as in the paper; elsewhere 0.1, as workers have",
    ]
    return report


def play(
    case: Case, settings: PolicySettings, trials: int, fleet: Fleet = FLEETS["1 x 1"]
) -> tuple[Replay, Outcome]:
    """Return what a policy did in a case, and what that came to."""
    print(f"{case.name}: {settings.policy}, {fleet.workers} x {fleet.batch}", file=sys.stderr)
    scale = case.scale(settings)
    played = replay(
        build(settings, case.layers), case.labels, case.orders(trials), fleet=fleet, pool=case.pool
    )
    return played, outcome(played, scale)


def _reference_part(
    report: Report, cases: Sequence[Case], size: Size
) -> dict[str, dict[str, Outcome]]:
    rows, worst_share, worst_growth = [], [], []
    curves: dict[str, dict[str, Outcome]] = {}
    rescued = None
    for case in cases:
        settings = case.settings()
        found = {
            (policy, name): play(case, replace(settings, policy=policy), size.trials, fleet)[1]
            for policy in ("default", "uee-ucb")
            for name, fleet in FLEETS.items()
        }
        for (policy, name), result in found.items():
            at = [result.regret[n].mean for n in ("1000", "10000", "50000")]
            plays = np.sum(result.counts, axis=0) / np.sum(result.counts)
            shares = " ".join(f"{share:.1%}" for share in plays)
            rows.append((case.name, policy, name, *(round(r, 1) for r in at), shares))
        curves[case.name] = {policy: found[policy, "1 x 1"] for policy in ("default", "uee-ucb")}
        ours, theirs = (found[p, "1 x 1"].regret["50000"].mean for p in ("default", "uee-ucb"))
        best = int(np.argmin(case.scale(settings).losses))
        if int(np.argmax(np.sum(found["uee-ucb", "1 x 1"].counts, axis=0))) == best:
            worst_share.append(ours / theirs)
        else:
            rescued = max(ours, rescued or 0.0)
        worst_growth.append(found["default", "16 x 512"].regret["50000"].mean / ours)
    report.goals += [
        Goal.at_most(
            "regret at 50,000 over that of UEE-UCB where that finds the right exit, worst",
            0.5,
            max(worst_share, default=None),
        ),
        Goal.at_most("regret at 50,000 where UEE-UCB does not find it", 100, rescued),
        Goal.at_most(
            "regret of 16 workers x 512 over that of one by one, worst",
            3,
            max(worst_growth, default=None),
        ),
    ]
    columns = ("matrix, cost", "policy", "workers x batch", "@1,000", "@10,000", "@50,000")
    report.tables.append(
        Table("Published matrices: regret", (*columns, "share of exits"), tuple(rows))
    )
    return curves


def _domain_part(report: Report, cases: Sequence[Case], size: Size) -> None:
    rows, ratios = [], []
    for case in cases:
        settings = case.settings()
        results = {
            (policy, name): play(
                case, replace(settings, policy=policy), max(2, size.ablation_trials), fleet
            )[1]
            for policy in ("default", "uee-ucb")
            for name, fleet in FLEETS.items()
            if name != "16 x 512"
        }
        ours, theirs = results["default", "1 x 1"], results["uee-ucb", "1 x 1"]
        best = int(np.argmin(case.scale(settings).losses))
        most = int(np.argmax(np.sum(ours.counts, axis=0)))
        last = float((case.labels[:, -1] == case.truth).mean())
        ratios.append(ours.regret["end"].mean / max(theirs.regret["end"].mean, 1.0))
        rows.append(
            (
                case.name,
                best,
                most,
                *(round(results[key].regret["end"].mean, 1) for key in results),
                f"{ours.accuracy:.1%}",
                f"{last:.1%}",
                f"{1 - ours.layers / case.layers[-1]:.0%}",
                f"{1 - theirs.layers / case.layers[-1]:.0%}",
            )
        )
    report.goals.append(
        Goal.at_most(
            "regret over that of UEE-UCB on our models' domains, worst",
            1.2,
            max(ratios, default=None),
        )
    )
    columns = ("model, domain", "best exit", "played most", "default", "default 4 x 128", "uee-ucb")
    more = ("uee-ucb 4 x 128", "accuracy", "of the last exit", "layers saved", "by uee-ucb")
    report.tables.append(
        Table("Our models' domains: regret at 10,000 texts", (*columns, *more), tuple(rows))
    )


def _drift_part(report: Report, cases: Sequence[Case], size: Size) -> None:
    rows, everything = [], []
    for case in cases:
        settings = case.settings()
        row: list[object] = [case.name]
        for policy in ("default", "uee-ucb"):
            played, result = play(case, replace(settings, policy=policy), size.drift_trials)
            delays = _recovery(case, settings, played)
            if policy == "default":
                everything += [delay for delay in delays if delay]
            row += [round(statistics.median(delays)), round(result.regret["end"].mean, 1)]
        rows.append(tuple(row))
    median = statistics.median(everything) if everything else None
    report.goals.append(
        Goal.at_most("texts to recover from a change that asks for it, median", 500, median)
    )
    columns = ("change", "default: texts to recover", "regret", "uee-ucb: texts", "regret")
    report.tables.append(Table("Drift after 5,000 of 10,000 texts", columns, tuple(rows)))
    report.notes.append(
        f"recovered: of the next {_WINDOW_TEXTS} texts at least {_WINDOW_RIGHT} go to an exit "
        f"within {_NEAR} of the best of the new domain, by labels or by all that can be known "
        "without; 5,000 where that never comes, 0 where the old exit still is such"
    )


def _recovery(case: Case, settings: PolicySettings, played: Replay) -> list[int]:
    """Return for each trial after how many texts of the new domain its exit is played."""
    change = case.change or 0
    labelled = case.scale(settings)
    gaps = np.minimum(labelled.row_gaps()[-1], replace(labelled, truth=None).row_gaps()[-1])
    found = []
    for exits in played.exits[:, change:]:
        right = np.concatenate(([0], np.cumsum(gaps[exits] <= _NEAR)))
        windows = right[_WINDOW_TEXTS:] - right[:-_WINDOW_TEXTS]
        good = np.flatnonzero(windows >= _WINDOW_RIGHT)
        found.append(int(good[0]) if len(good) else len(exits))
    return found


def _cold_start_part(report: Report, domains: Sequence[Case], size: Size) -> None:
    rows = []
    for title, cases in cold_start_cases(domains).items():
        row: list[object] = [title]
        for changes in map(ABLATIONS.__getitem__, ("default", "prior = 0", "uee-ucb")):
            regrets = _regrets(cases, changes, size.ablation_trials, Fleet(1, 32))
            row.append(round(statistics.mean(regrets), 2))
        rows.append(tuple(row))
    columns = ("what the other domains have learnt", "default", "prior = 0", "uee-ucb")
    report.tables.append(
        Table("New domains: regret of their first 256 texts, batches of 32", columns, tuple(rows))
    )


def _ablation_part(
    report: Report, published: Sequence[Case], domains: Sequence[Case], size: Size
) -> None:
    groups: dict[str, tuple[Sequence[Case], Fleet]] = {
        "published": (published, FLEETS["1 x 1"]),
        "published, 16 x 512": (published, FLEETS["16 x 512"]),
        "our domains": (domains, FLEETS["1 x 1"]),
        "our domains, 4 x 128": (domains, FLEETS["4 x 128"]),
        "drift": (drift_cases(domains), FLEETS["1 x 1"]),
        "first exit constant": ([flat_first_exit_case()], FLEETS["1 x 1"]),
        "equal costs": ([equal_cost_case()], FLEETS["1 x 1"]),
        "new domains": (cold_start_cases(domains).get("pool", []), Fleet(1, 32)),
    }
    rows = []
    for name, changes in ABLATIONS.items():
        row: list[object] = [name]
        for cases, fleet in groups.values():
            short = [case.shortened(size.texts) for case in _some(cases, size.cases)]
            regrets = _regrets(short, changes, size.ablation_trials, fleet)
            row.append(round(statistics.mean(regrets), 1) if regrets else None)
        rows.append(tuple(row))
    report.tables.append(
        Table("What each option is for: mean regret without it", ("policy", *groups), tuple(rows))
    )


def _regrets(
    cases: Sequence[Case], changes: Mapping[str, Any], trials: int, fleet: Fleet
) -> list[float]:
    """Return the regret of each case with some settings changed."""
    results = [play(case, replace(case.settings(), **changes), trials, fleet)[1] for case in cases]
    return [result.regret["end"].mean for result in results]


def _some(cases: Sequence[Case], most: int) -> Sequence[Case]:
    """Return at most so many of the cases, from all over."""
    return cases[:: max(1, -(-len(cases) // most))]


if __name__ == "__main__":
    main()
