"""Measures credits of calibrated models where a domain changes, and where it is new.

`--matrices` holds what `python -m benchmarks.models --matrices DIR` wrote of calibrated models, a
folder a model with a matrix a domain; other models are left out. Regret is in units of error: 10
stands for ten texts more labelled wrong, or as much cost, than by the best fixed exit, which the
labels tell. Where a domain changes, each half has its own.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from benchmarks.policy.cases import (
    MISLEADING,
    Case,
    calibrated_cases,
    cold_start_cases,
    drift_cases,
)
from benchmarks.policy.drift import RECOVERED, recovery
from benchmarks.policy.duels import play
from benchmarks.policy.estimates import mean_and_worst
from benchmarks.policy.regret import STARTS
from benchmarks.report import Goal, Report, Table, hand_in, parser

ALGORITHMS = {"credits": "with credits", "default": "without", "uee-ucb": "UEE-UCB"}
_DRIFT = (
    "drift: of each model the four changes that cost most if the old exit stays; 5,000 texts of "
    "each domain, its texts again and again, each trial in another order"
)

Regrets = Mapping[str, Sequence[float]]  # by algorithm, a case each


def main(given: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    cases, options = calibrated_cases(parser("policy.changing", __doc__), given, quick=2)
    hand_in(measure(cases, 2 if options.quick else 10), options)


def measure(cases: Sequence[Case], trials: int) -> Report:
    """Measure drift and new domains of calibrated models, each replay with so many trials."""
    report = Report("changing")
    _drift_part(report, [case for case in drift_cases(cases) if case.model], trials)
    _new_part(report, cases, trials)
    report.notes += [RECOVERED, _DRIFT, "new domains: mean over the domains (worst)"]
    return report


def _drift_part(report: Report, cases: Sequence[Case], trials: int) -> None:
    rows: list[tuple[object, ...]] = []
    regrets: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
    delays: list[int] = []
    for case in cases:
        cells: list[object] = []
        for name in ALGORITHMS:
            played = play(case, name, trials)
            texts = recovery(case, played.replay)
            delays += [delay for delay in texts if delay and name == "credits"]
            regrets[name].append(float(played.regrets.mean()))
            cells += [round(statistics.median(texts)), round(regrets[name][-1], 1)]
        rows.append((case.name, *cells))
    if rows:
        means = [("", round(statistics.mean(each), 1)) for each in regrets.values()]
        rows.append(("mean", *(cell for pair in means for cell in pair)))
    median = statistics.median(delays) if delays else None
    report.goals += [
        Goal.at_most("drift: texts to recover with credits, median", 500, median),
        *_goals("drift", regrets),
    ]
    columns = [f"{said}: {what}" for said in ALGORITHMS.values() for what in ("texts", "regret")]
    report.tables.append(
        Table("Drift after 5,000 of 10,000 texts", ("change", *columns), tuple(rows))
    )


def _new_part(report: Report, cases: Sequence[Case], trials: int) -> None:
    rows: list[tuple[object, ...]] = []
    for start, (fleet, texts) in STARTS.items():
        for pool, new in cold_start_cases(cases).items():
            if pool == MISLEADING:
                continue
            first = [replace(case, texts=texts) for case in new]
            regrets = {
                name: [float(play(case, name, trials, fleet).regrets.mean()) for case in first]
                for name in ALGORITHMS
            }
            report.goals += _goals(f"new domains, {start}, {pool} known", regrets)
            models = [case.name.split(", ")[0] for case in first]
            for model in (*dict.fromkeys(models), "all"):
                of = [i for i, each in enumerate(models) if model in (each, "all")]
                each = [mean_and_worst([found[i] for i in of], 1, 1) for found in regrets.values()]
                rows.append((start, f"{texts:,}", pool, model, len(of), *each))
    columns = ("workers x batch", "first texts", "what the other domains have learnt", "domains of")
    report.tables.append(
        Table("New domains: regret", (*columns, "domains", *ALGORITHMS.values()), tuple(rows))
    )


def _goals(what: str, regrets: Regrets) -> list[Goal]:
    """Return that credits should lose no more than the others do on average."""
    if not regrets["credits"]:
        return []
    ours, *others = (statistics.mean(found) for found in regrets.values())
    over = zip(list(ALGORITHMS.values())[1:], others, strict=True)
    return [
        Goal.at_most(f"{what}: regret with credits over {said}", 1, ours / max(theirs, 1.0))
        for said, theirs in over
    ]


if __name__ == "__main__":
    main()
