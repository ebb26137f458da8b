"""What labels correct of a domain: the worth of its steps, and the exit that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from policy_state.reports.domain import exit_of, worth_of
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.algorithms.base import Algorithm
    from policy_state.labelled import LabelledDuels
    from policy_state.reports.domain import DomainReport
    from policy_state.stats import ExitStats
    from policy_state.store.values import DomainSnapshot


@dataclass(frozen=True, slots=True)
class StepCorrection:
    """The step to one exit."""

    exit: int
    duels: int  # labelled texts on which it differs from the exit before
    wins: int
    losses: int
    worth_before: float | None  # errors saved by a change of label; None before the first one
    worth_after: float | None


@dataclass(frozen=True, slots=True)
class Correction:
    """What new labels would change of a domain."""

    exit_before: int
    exit_after: int
    steps: tuple[StepCorrection, ...]  # those with labelled duels, now or before


def correction(
    snapshot: DomainSnapshot,
    labels: LabelledDuels,
    algorithm: Algorithm,
    *,
    pool: ExitStats | None,
) -> Correction:
    """Return what labels would change of a domain, in place of those that it has."""
    fresh = replace(snapshot, labels=labels)
    before, after = snapshot.corrected, fresh.corrected
    had = snapshot.labels.duels if snapshot.labels else (0,) * labels.exits
    return Correction(
        exit_before=exit_of(snapshot, algorithm, pool=pool),
        exit_after=exit_of(fresh, algorithm, pool=pool),
        steps=tuple(
            StepCorrection(
                exit=j,
                duels=labels.duels[j],
                wins=labels.wins[j],
                losses=labels.losses[j],
                worth_before=worth_of(before, j),
                worth_after=worth_of(after, j),
            )
            for j in range(1, labels.exits)
            if labels.duels[j] or had[j]
        ),
    )


def corrected_in_words(report: DomainReport) -> list[str]:
    """Return what labels say of the steps next to the exit learnt, in lines."""
    labels = report.labels
    if labels is None or not report.credits:
        return []
    found = [f"Labels of {counted(labels.texts, 'text')} correct what its steps are worth."]
    for before, row in pairwise(report.exits[max(0, report.learnt - 1) : report.learnt + 2]):
        if not (duels := labels.duels[row.exit]) or row.worth is None:
            continue
        won, lost = (counts[row.exit] / duels for counts in (labels.wins, labels.losses))
        found.append(
            f"Where exits {before.exit} and {row.exit} differ ({counted(duels, 'labelled text')}), "
            f"the deeper exit wins {won:.0%} and loses {lost:.0%}. So a change of label at exit "
            f"{row.exit} saves {row.worth:.2f} errors instead of {row.credit_worth or 0:.2f}."
        )
    return found
