"""Measures what credits of calibrated models are worth, and the gate that lets sure texts stop.

`--matrices` holds what `python -m benchmarks.models --matrices DIR` wrote of calibrated models, a
folder a model with a matrix a domain; other models are left out. Regret is in units of error per
10,000 texts: 10 stands for ten texts more labelled wrong, or as much cost, than by the best fixed
exit. Domains are split in two halves by name, every other one. What is chosen here is chosen on the
first half, and all goals are worked out on both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.policy.cases import Case, calibrated_cases
from benchmarks.policy.duels import play
from benchmarks.policy.estimates import (
    RULES,
    WEIGHTS,
    accuracy_error,
    best_by_labels,
    by_credits,
    calibration_error,
    exits_at_infinity,
    mean_and_worst,
    mixed,
)
from benchmarks.policy.found import FLEETS, MOST_OVER, Found, goals_of, saved
from benchmarks.policy.gating import IN_FORCE, PROMISES, Gated, gated, holdout_covers
from benchmarks.report import Report, Table, hand_in, parser

ALGORITHMS = ("credits", "default", "uee-ucb")
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the worth in a credit
_KNOWN = (
    "all texts known: what a rule does once it has seen every text of a domain 1,000 times; what "
    "is left is its bias"
)
_ONLINE = (
    "online: 10,000 texts, those of the domain again and again, each time in another order; "
    "4 x 128: four workers decide on 128 texts each before they learn of one another"
)
_GATE = (
    "the gate: exit and threshold are learnt on one half of a domain's texts and tried on the "
    "other, ten times; layers count the 5 % of texts that are not gated, and the 1 % that run to "
    "the last exit"
)
_WORTH = "shares of the worth: mean regret at the three cost weights, added up; credits have half"
Groups = Mapping[str, Sequence[Found]]


def main(given: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write."""
    arguments = parser("policy.worth", __doc__)
    arguments.add_argument("--name", default="worth", help="of the report; default: %(default)s")
    cases, options = calibrated_cases(arguments, given)
    trials, texts = (2, 500) if options.quick else (10, None)
    if options.quick:
        cases = cases[:: max(1, len(cases) // 4)]
    hand_in(measure(cases, trials, texts, name=options.name), options)


def measure(
    cases: Sequence[Case], trials: int, texts: int | None, *, name: str = "worth"
) -> Report:
    """Measure every case and return the report.

    Args:
        cases: Of calibrated models.
        trials: Of each replay, each with the texts in another order.
        texts: Of each replay; None: as the case says.
        name: Of the report.
    """
    found = [_found(case, trials, texts) for case in cases]
    groups = {
        model: [each for each in found if each.model == model]
        for model in dict.fromkeys(each.model for each in found)
    }
    domains = sorted({each.domain for each in found})
    halves = [[e for e in found if e.domain in domains[first::2]] for first in (0, 1)]
    groups |= {"all": found, "first half of the domains": halves[0], "other half": halves[1]}
    groups = {name: each for name, each in groups.items() if each}
    report = Report(name, goals=goals_of(found))
    by_half = [goals_of(half) if half else None for half in halves]
    report.tables += [
        Table(
            "The goals on each half of the domains",
            ("goal", "asked", "all", "first half", "other half"),
            tuple(
                (
                    goal.name,
                    goal.goal,
                    goal.reached,
                    *(half and half[i].reached for half in by_half),
                )
                for i, goal in enumerate(report.goals)
            ),
        ),
        _estimates_table(groups),
        _shares_table(halves),
        _online_table(groups),
        _calibration_table(groups),
        _gate_table(groups),
        _holdout_table(groups),
        _domains_table(found),
    ]
    report.notes += [_KNOWN, _ONLINE, _GATE, _WORTH]
    return report


def _found(case: Case, trials: int, texts: int | None) -> Found:
    regrets = {}
    for fleet, who in FLEETS.items():
        for weight in WEIGHTS:
            asked = replace(case, changes={"cost_weight": weight}, texts=texts or case.texts)
            for name in ALGORITHMS:
                played = play(asked, name, trials, who)
                regrets[name, fleet, weight] = played.outcome.regret["end"].mean
    estimates = {name: rule(case) for name, rule in RULES.items()}
    return Found(
        case, estimates, regrets, {name: gated(case, share) for name, share in PROMISES.items()}
    )


def _estimates_table(groups: Groups) -> Table:
    rows: list[tuple[object, ...]] = []
    for group, found in groups.items():
        for rule in RULES:
            each = [one.estimates[rule] for one in found]
            row = [group, rule, len(each), f"{np.mean([one.error for one in each]):.4f}"]
            row += [mean_and_worst([one.regret[weight] for one in each]) for weight in WEIGHTS]
            rows.append((*row, *_tolerance_cells([(e.layers, e.extra_error) for e in each])))
        best = [best_by_labels(one.case) for one in found]
        rows.append(
            (group, "best exit by the truth", len(found), 0, 0, 0, 0, *_tolerance_cells(best))
        )
    weights = (f"regret at {weight}: mean (worst)" for weight in WEIGHTS)
    columns = ("domains of", "estimate", "domains", "error of gain", *weights)
    more = ("tolerance 0.02: layers", "extra error, points: mean (worst)")
    return Table("All texts known", (*columns, *more), tuple(rows))


def _tolerance_cells(each: Sequence[tuple[float | None, float | None]]) -> tuple[str, str]:
    known = [(layers, extra) for layers, extra in each if layers is not None and extra is not None]
    if not known:
        return "", ""
    layers, extra = zip(*known, strict=True)
    return f"{np.mean(layers):.1f}", mean_and_worst(extra, 100, 2)


def _shares_table(halves: Sequence[Sequence[Found]]) -> Table:
    def cell(half: Sequence[Found], share: float) -> float:
        made = [by_credits(mixed(each.case, share)).regret for each in half if each.case.worth]
        return round(float(np.mean([sum(regret.values()) for regret in made])), 1) if made else 0.0

    rows = tuple((f"{share:.0%}", *(cell(half, share) for half in halves)) for share in _SHARES)
    return Table(
        "Share of the worth in a credit: regret, all texts known",
        ("share", "first half of the domains", "other half"),
        rows,
    )


def _online_table(groups: Groups) -> Table:
    rows: list[tuple[object, ...]] = []
    for group, found in groups.items():
        for fleet, weight in dict.fromkeys(key[1:] for key in found[0].regrets):
            cells = [
                mean_and_worst([each.regrets[name, fleet, weight] for each in found])
                for name in ALGORITHMS
            ]
            over = [each.over_uee_ucb(fleet, weight) for each in found]
            beyond = sum(each > MOST_OVER for each in over)
            rows.append((group, fleet, weight, *cells, round(max(over), 2), beyond))
    columns = ("domains of", "workers x batch", "cost weight", "with credits", "without", "UEE-UCB")
    more = ("with credits over UEE-UCB, worst", f"domains above {MOST_OVER}")
    return Table("Learned online: regret, mean (worst)", (*columns, *more), tuple(rows))


def _calibration_table(groups: Groups) -> Table:
    rows = tuple(
        (
            group,
            len(found),
            f"{np.mean([calibration_error(each.case) for each in found]):.4f}",
            mean_and_worst([accuracy_error(each.case) for each in found], 100, 1),
        )
        for group, found in groups.items()
    )
    columns = ("domains of", "domains", "ECE", "estimated accuracy off, points: mean (worst)")
    return Table("Calibrated scores and accuracy without labels, mean over exits", columns, rows)


def _gate_table(groups: Groups) -> Table:
    rows: list[tuple[object, ...]] = []
    for group, found in groups.items():
        for promise in PROMISES:
            each = [one.gates[promise] for one in found]
            mean = Gated.mean(each)
            layers = (f"{share:.1%}" for share in (mean.exit, mean.layers, saved(each)))
            agreement = f"{mean.agreement:.2%} ({min(one.agreement for one in each):.2%})"
            lost = mean_and_worst([one.lost for one in each], 100, 2)
            to_last = mean_and_worst([one.lost_to_last for one in each], 100, 2)
            rows.append((group, promise, *layers, agreement, lost, to_last))
    columns = ("domains of", "promise", "layers of the exit", "with the gate", "saved")
    more = ("agreement: mean (worst)", "points lost to the exit", "points lost to the last exit")
    return Table("The gate, cost weight 0.1", (*columns, *more), tuple(rows))


def _holdout_table(groups: Groups) -> Table:
    rows = []
    for group, found in groups.items():
        covered, width = np.mean([holdout_covers(each.case) for each in found], axis=0)
        rows.append((group, f"{covered:.1%}", f"{100 * width / 2:.1f}"))
    columns = ("domains of", "intervals with the true agreement", "half the width, points")
    return Table("A holdout of 1 % of 10,000 texts", columns, tuple(rows))


def _domains_table(found: Sequence[Found]) -> Table:
    rows = []
    for each in found:
        best, ours, theirs = (each.case.layers[exit_] for exit_ in exits_at_infinity(each.case))
        regrets = (round(each.regrets[name, "1 x 1", 0.1], 1) for name in ALGORITHMS)
        gate = each.gates[IN_FORCE]
        shares = (f"{gate.exit:.1%}", f"{gate.layers:.1%}", f"{gate.agreement:.1%}")
        lost = f"{100 * gate.lost_to_last:.1f}"
        rows.append((each.case.name, best, ours, theirs, *regrets, *shares, lost))
    columns = ("model, domain", "layer of the best exit", "with credits", "without")
    more = ("regret with credits", "without", "UEE-UCB", "layers", "with the gate", "agreement")
    return Table(
        "Every domain, cost weight 0.1: exits with all texts known, regret one by one, the gate",
        (*columns, *more, "points lost to the last exit"),
        tuple(rows),
    )


if __name__ == "__main__":
    main()
