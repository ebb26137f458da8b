"""Measures the algorithms: regret on recorded matrices, alone and in fleets, drift, new domains.

`--reference` holds the published matrices of the paper's authors
(`Exit_Predictions_TrainDevTest_IMDb_{4,6}exits.csv`); `--matrices` what
`python -m benchmarks.models --matrices DIR` wrote, a folder a model with a matrix a domain. Regret
is in units of error: 10 stands for ten texts more labelled wrong, or as much cost, than by the best
fixed exit. Without a folder what it is for stays unmeasured. Credits of calibrated models are not
used here, but in `benchmarks.policy.worth`.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.policy.ablations import ABLATIONS
from benchmarks.policy.cases import (
    MISLEADING,
    Case,
    cold_start_cases,
    domain_cases,
    drift_cases,
    equal_cost_case,
    flat_first_exit_case,
    reference_cases,
)
from benchmarks.policy.drift import drift_part
from benchmarks.policy.duels import Duel, duel, play, worst_part
from benchmarks.policy.plot import plot_curves
from benchmarks.report import Goal, Report, Table, hand_in, parser
from policy_state.simulation.outcomes import ReplayResult
from policy_state.simulation.replay import Fleet

FLEETS = {"1 x 1": Fleet(), "4 x 128": Fleet(4, 128), "16 x 512": Fleet(16, 512)}
STARTS = {"1 x 32": (Fleet(1, 32), 256), "4 x 512": (Fleet(4, 512), 8_192)}
"""Who meets a new domain, and how many of its first texts are looked at."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    trials: int  # on the published matrices, and where the default does worst
    ablation_trials: int
    domains: int  # per model
    drift_trials: int
    cases: int  # of a kind, for the ablations
    texts: int  # of every case, for the ablations


FULL = Size(trials=20, ablation_trials=5, domains=100, drift_trials=10, cases=12, texts=50_000)
QUICK = Size(trials=2, ablation_trials=1, domains=1, drift_trials=2, cases=2, texts=1_000)


def main() -> None:
    """Parse the command line, measure, write."""
    arguments = parser("policy.regret", __doc__)
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
    duels: list[Duel] = []
    if not published:
        report.notes.append("the published matrices were not given: their goals are unmeasured")
    curves = _reference_part(report, published, size, duels)
    if curves and plot:
        plot.parent.mkdir(parents=True, exist_ok=True)
        plot_curves(curves, plot)
    _domain_part(report, domains, size, duels)
    drift_part(report, drift_cases(domains), size.drift_trials, duels)
    _cold_start_part(report, domains, size, duels)
    worst_part(report, duels, size.trials)
    _ablation_part(report, published, domains, size)
    report.notes += [
        "regret: mean over trials, each with the texts in another order, against the best exit",
        "4 x 128: four workers decide on 128 texts each before they learn of one another",
        "cost weight 1 on the published matrices, as in the paper; elsewhere 0.1, as workers have",
        "our models' domains: 1,000 labelled texts each (872 of sst2), ten times in another order",
        "where the default does worst: of each group three cases, played again with more trials",
    ]
    return report


def _reference_part(
    report: Report, cases: Sequence[Case], size: Size, duels: list[Duel]
) -> dict[str, dict[str, ReplayResult]]:
    rows, worst_share, worst_growth, seconds = [], [], [], []
    curves: dict[str, dict[str, ReplayResult]] = {}
    rescued = None
    for case in cases:
        fought = {
            name: duel("published matrices", case, size.trials, fleet)
            for name, fleet in FLEETS.items()
        }
        duels += fought.values()
        found = {("default", name): each.ours.outcome for name, each in fought.items()}
        found |= {("uee-ucb", name): each.theirs.outcome for name, each in fought.items()}
        for (algorithm, name), result in found.items():
            at = [result.regret[n].mean for n in ("1000", "10000", "50000")]
            plays = np.sum(result.counts, axis=0) / np.sum(result.counts)
            shares = " ".join(f"{share:.1%}" for share in plays)
            rows.append((case.name, algorithm, name, *(round(r, 1) for r in at), shares))
        curves[case.name] = {each: found[each, "1 x 1"] for each in ("default", "uee-ucb")}
        ours, theirs = (
            found[each, "1 x 1"].regret["50000"].mean for each in ("default", "uee-ucb")
        )
        best = int(np.argmin(case.scale().losses))
        if int(np.argmax(np.sum(found["uee-ucb", "1 x 1"].counts, axis=0))) == best:
            worst_share.append(ours / theirs)
        else:
            rescued = max(ours, rescued or 0.0)
        worst_growth.append(found["default", "16 x 512"].regret["50000"].mean / ours)
        seconds.append(fought["1 x 1"].ours.seconds)
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
        Goal.at_most(
            "seconds of one core that a replay of 20 trials x 50,000 texts takes, slowest",
            20,
            max(seconds, default=None) if size is FULL else None,
        ),
    ]
    columns = ("matrix, cost", "algorithm", "workers x batch", "@1,000", "@10,000", "@50,000")
    report.tables.append(
        Table("Published matrices: regret", (*columns, "share of exits"), tuple(rows))
    )
    return curves


def _domain_part(report: Report, cases: Sequence[Case], size: Size, duels: list[Duel]) -> None:
    rows: list[tuple[object, ...]] = []
    regrets: list[list[float]] = []
    for case in cases:
        alone, fleet = (
            duel("our models' domains", case, max(2, size.ablation_trials), FLEETS[name])
            for name in ("1 x 1", "4 x 128")
        )
        duels += alone, fleet
        ours, theirs = alone.ours.outcome, alone.theirs.outcome
        best = int(np.argmin(case.scale().losses))
        most = int(np.argmax(np.sum(ours.counts, axis=0)))
        last = float((case.labels[:, -1] == case.truth).mean())
        played = (alone.ours, fleet.ours, alone.theirs, fleet.theirs)
        regrets.append([each.outcome.regret["end"].mean for each in played])
        rows.append(
            (
                case.name,
                best,
                most,
                *(round(regret, 1) for regret in regrets[-1]),
                f"{ours.accuracy:.1%}",
                f"{last:.1%}",
                f"{1 - ours.layers / case.layers[-1]:.0%}",
                f"{1 - theirs.layers / case.layers[-1]:.0%}",
            )
        )
    if regrets:
        means = (round(float(mean), 1) for mean in np.mean(regrets, axis=0))
        rows.append(("mean", "", "", *means, "", "", "", ""))
    columns = ("model, domain", "best exit", "played most", "default", "default 4 x 128", "uee-ucb")
    more = ("uee-ucb 4 x 128", "accuracy", "of the last exit", "layers saved", "by uee-ucb")
    report.tables.append(
        Table("Our models' domains: regret at 10,000 texts", (*columns, *more), tuple(rows))
    )


def _cold_start_part(
    report: Report, domains: Sequence[Case], size: Size, duels: list[Duel]
) -> None:
    rows = []
    for name, (fleet, texts) in STARTS.items():
        for pool, cases in cold_start_cases(domains).items():
            first = [replace(case, texts=texts) for case in cases]
            group = f"new domains, {name}, {pool} known"
            found = [duel(group, case, max(2, size.ablation_trials), fleet) for case in first]
            if pool != MISLEADING:
                duels += found
            without = _regrets(first, "no prior", size.ablation_trials, fleet)
            ours = statistics.mean(each.ours.regrets.mean() for each in found)
            theirs = statistics.mean(each.theirs.regrets.mean() for each in found)
            means = (round(mean, 2) for mean in (ours, statistics.mean(without), theirs))
            worst = max(each.ratio for each in found)
            rows.append((name, f"{texts:,}", pool, *means, round(worst, 2)))
    columns = ("workers x batch", "first texts", "what the other domains have learnt")
    more = ("default", "no prior", "uee-ucb", "default over uee-ucb, worst")
    report.tables.append(Table("New domains: regret", (*columns, *more), tuple(rows)))


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
        "new domains": (_first_texts(domains, "1 x 32"), STARTS["1 x 32"][0]),
        "new domains, 4 x 512": (_first_texts(domains, "4 x 512"), STARTS["4 x 512"][0]),
    }
    rows = []
    for name in ABLATIONS:
        row: list[object] = [name]
        for cases, fleet in groups.values():
            short = [case.shortened(size.texts) for case in _some(cases, size.cases)]
            regrets = _regrets(short, name, size.ablation_trials, fleet)
            row.append(round(statistics.mean(regrets), 1) if regrets else None)
        rows.append(tuple(row))
    report.tables.append(
        Table("What each part is for: mean regret without it", ("algorithm", *groups), tuple(rows))
    )


def _regrets(cases: Sequence[Case], name: str, trials: int, fleet: Fleet) -> list[float]:
    """Return the regret of one of `ABLATIONS` in each case."""
    found = [play(case, name, trials, fleet) for case in cases]
    return [played.outcome.regret["end"].mean for played in found]


def _first_texts(domains: Sequence[Case], start: str) -> list[Case]:
    """Return new domains that begin with what the others have learnt."""
    cases = cold_start_cases(domains).get("pool", [])
    return [replace(case, texts=STARTS[start][1]) for case in cases]


def _some(cases: Sequence[Case], most: int) -> Sequence[Case]:
    """Return at most so many of the cases, from all over."""
    return cases[:: max(1, -(-len(cases) // most))]


if __name__ == "__main__":
    main()
