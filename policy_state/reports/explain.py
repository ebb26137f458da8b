"""Explains in plain words why a domain uses its exit, and what would change that."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from policy_state.counting import THOUSAND
from policy_state.reports.correction import corrected_in_words
from policy_state.stats import Z_95
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.algorithms.settings import PolicySettings
    from policy_state.reports.domain import DomainReport, ExitReport
    from policy_state.reports.shares import Share
    from policy_state.stats import ExitStats
    from policy_state.store.values import DomainSnapshot


_NOT_CALIBRATED: Final = (
    "The model is not calibrated, so every change of label counts as an error saved. Texts may "
    "stop one exit too deep or too shallow. `offramp model calibrate` adds a calibration."
)


def explain(
    report: DomainReport, snapshot: DomainSnapshot, *, settings: PolicySettings
) -> list[str]:
    """Return why the domain is at its exit, how clearly, and what would change it, in lines."""
    stats, lines = snapshot.corrected, _held(report, snapshot)
    if settings.algorithm == "default" and settings.tolerance is not None:
        lines.append(_within(report, stats, settings.tolerance))
    else:
        lines.append(_chosen(report, stats))
        lines += _steps(report, stats)
        lines += _compared(report, stats, settings.cost_weight)
    lines += _measured(report)
    lines += report.gate.in_words() if report.gate else []
    lines += findings(report)
    return lines + [f"Careful: {warning}." for warning in report.warnings]


def findings(report: DomainReport) -> list[str]:
    """Return what was found of a choice without labels, a line each; warnings apart."""
    found, diagnosis = [], report.diagnosis
    if report.algorithm == "default" and not report.calibrated:
        found.append(_NOT_CALIBRATED)
    found += corrected_in_words(report)
    agreement = diagnosis.agreement
    if agreement is not None and report.learnt != report.exits[-1].exit:
        found.append(
            f"Exit {report.learnt} and the last exit gave the same label to "
            f"{agreement.share:.1%} of {counted(agreement.texts, 'text')} ({_interval(agreement)})."
        )
    if (violations := diagnosis.violations) is not None and violations.share > 0:
        found.append(
            f"At least {violations.share:.1%} of {violations.texts} texts violate Strong "
            "Dominance: a shallower exit was right and a deeper one wrong."
        )
    if (certificate := diagnosis.certificate) is not None and certificate.holds:
        found.append(
            f"Exit {certificate.first_anchored} is best whether exits are compared with the first "
            "or with the last one."
        )
    if diagnosis.drifts:
        found.append(f"Its texts changed {_times(diagnosis.drifts)}, so learning started again.")
    if diagnosis.resets:
        found.append(f"Operators reset it {_times(diagnosis.resets)}.")
    return found


def _measured(report: DomainReport) -> list[str]:
    """Return what the holdout shows, and what accuracy the confidence of the model speaks for."""
    found = []
    if (held := report.holdout) is not None:
        found.append(
            f"The holdout has {counted(held.texts, 'text')} that ran to the last exit only to "
            f"measure. The exits chosen for them gave {held.agreement.share:.1%} of them the label "
            f"of full depth ({_interval(held.agreement)}), and would have saved "
            f"{held.layers_saved.share:.1%} of the layers ({_interval(held.layers_saved)})."
        )
    here, last = report.exits[report.learnt], report.exits[-1]
    if here.accuracy and last.accuracy:
        other = f", and the last exit about {last.accuracy.share:.1%}" if here is not last else ""
        found.append(
            f"By the confidence of the model, {_named(here)} is right about "
            f"{here.accuracy.share:.1%} of the texts ({_interval(here.accuracy)}){other}. If the "
            "texts are unlike those of the calibration, this estimate is too high."
        )
    return found


def _interval(share: Share) -> str:
    return f"95 % interval: {share.low:.1%} to {share.high:.1%}"


def _times(count: int) -> str:
    return f"{count} times" if count > 1 else "once"


def _held(report: DomainReport, snapshot: DomainSnapshot) -> list[str]:
    lines = []
    if snapshot.pin is not None:
        layer = report.exits[snapshot.pin].layer if snapshot.pin < len(report.exits) else "?"
        why = f" because: {snapshot.pin_reason}" if snapshot.pin_reason else ""
        lines.append(f"An operator pinned it to exit {snapshot.pin} (layer {layer}){why}.")
    if snapshot.frozen:
        why = f" because: {snapshot.freeze_reason}" if snapshot.freeze_reason else ""
        lines.append(f"An operator froze it{why}. Its texts are not counted.")
    if snapshot.pin is not None:
        lines.append("Its texts leave there. Without the pin, what it has learnt would decide:")
    return lines


def _within(report: DomainReport, stats: ExitStats, tolerance: float) -> str:
    """Return why it is at its exit where a tolerance chooses, not a reward."""
    chosen, last = report.exits[report.learnt], report.exits[-1]
    bounds = report.diagnosis.extra_error
    allowed = f"{100 * tolerance:.3g} % more errors than the last exit, {_named(last)}"
    if bounds is None:
        text = "No text has run to the last exit yet. All texts go there until a cheaper exit is "
        return f"{text}certain to make at most {allowed}."
    after = f"After {counted(report.texts, 'text')}"
    if chosen.exit != last.exit:
        text = f"{after} {_named(chosen)} is the cheapest exit that is certain to make at most "
        return f"{text}{allowed}. {_apart(report, stats, chosen.exit)} {_saved(report)}"
    text = (
        f"{after} no cheaper exit is certain yet to make at most {allowed}, so all texts go there."
    )
    cheaper = [row.exit for row in report.exits if row.cost < last.cost]
    if cheaper:
        closest = min(cheaper, key=lambda j: bounds[j])
        near = _named(report.exits[closest])
        text += f" The closest one is {near}. {_apart(report, stats, closest)}"
    return text


def _apart(report: DomainReport, stats: ExitStats, exit_: int) -> str:
    full, bounds = stats.observed[-1], report.diagnosis.extra_error or ()
    worth = ""
    if report.credits:
        rest = sum(_step(stats, j) for j in range(exit_ + 1, stats.exits))
        worth = f". These changes save about {_errors(rest)}"
    return (
        f"Its label differed from the last exit's on {stats.apart[exit_] / full:.1%} of "
        f"{counted(full, 'text')}{worth}, so it makes at most {bounds[exit_]:.1%} more errors "
        "(true in 19 of 20 domains)."
    )


def _chosen(report: DomainReport, stats: ExitStats) -> str:
    best, anchor = report.exits[report.learnt], report.exits[report.anchor]
    here, after = _named(best), f"After {counted(report.texts, 'text')}"
    scouts = "a few run to the last exit, to show what every exit says about them."
    if report.texts == 0:
        return f"No text has been counted yet. Its first texts leave at {here}, and {scouts}"
    unseen = [str(row.exit) for row in report.exits if not row.observed]
    if unseen:
        none = f"no text has reached exit {', '.join(unseen)} yet"
        return f"{after} {none}. Most texts leave at {here}, and {scouts}"
    if best.reward is None:
        return f"{after} its texts leave at {here}."
    if (own := by_its_own(report)) is not best:
        return (
            f"{after} the best guess is {here}. These texts are still few, so what other domains "
            f"have shown counts, too. By its own texts alone {_named(own)} has the best estimated "
            f"reward, {own.reward:z.4f} compared with {best.reward:z.4f}. {_saved(report)}"
        )
    text = f"{after} {here} has the best estimated reward, {best.reward:z.4f}"
    if best.exit == anchor.exit:
        end = "last" if anchor.exit else "first"
        return f"{text}. It is the {end} exit, with which all others are compared. {_saved(report)}"
    end, side, cost = (
        ("last", "less", anchor.cost - best.cost)
        if anchor.exit
        else ("first", "more", best.cost - anchor.cost)
    )
    share, texts = _differing(report, stats, best.exit)
    why = (
        f"Its label differed from the {end} exit's on {share:.1%} of {counted(texts, 'text')}, "
        f"and it costs {cost:z.4f} {side}."
    )
    if report.credits:
        saved = sum(_step(stats, j) for j in range(1, best.exit + 1))
        why = f"It saves about {_errors(saved)} and costs as much as {_errors(cost)}."
    return f"{text}: errors saved compared with the {end} exit, minus cost. {why} {_saved(report)}"


def _steps(report: DomainReport, stats: ExitStats) -> list[str]:
    """Return what the step to the exit learnt and the one behind it are worth."""
    if not report.credits or not all(row.observed for row in report.exits):
        return []
    near = report.exits[max(0, report.learnt - 1) : report.learnt + 2]
    found = []
    for before, row in pairwise(near):
        share = stats.duels[row.exit] / row.observed
        text = f"The step to {_named(row)} changes {share:.1%} of labels"
        if row.worth is not None:
            text += (
                f". A change saves {row.worth:.2f} errors on average, so the step saves "
                f"{_errors(_step(stats, row.exit))}"
            )
        found.append(f"{text}. It costs as much as {_errors(row.cost - before.cost)}.")
    return found


def _step(stats: ExitStats, exit_: int) -> float:
    """Return the share of errors that the step to an exit saves, by credits."""
    return stats.credit[exit_] / (THOUSAND * max(1, stats.observed[exit_]))


def _errors(share: float) -> str:
    return f"{100 * share:.1f} errors in 100 texts"


def _compared(report: DomainReport, stats: ExitStats, cost_weight: float) -> list[str]:
    """Return how far the runner-up is behind, and what would make it the choice."""
    confidence = report.diagnosis.confidence
    if confidence is None or not all(row.observed for row in report.exits):
        return []
    best, rival = report.exits[report.learnt], report.exits[confidence.runner_up]
    if by_its_own(report) is not best:
        return []
    margin, spread = confidence.margin, 0.0
    if report.credits:
        first, last = sorted((best.exit, rival.exit))
        spread = sum(_deviation(stats, j) for j in range(first + 1, last + 1)) ** 2
    else:
        for row in (best, rival):
            share, texts = _differing(report, stats, row.exit)
            spread += share * (1 - share) / texts
    behind = f"The second best is {_named(rival)}, {margin:.4f} behind. "
    if margin > Z_95 * math.sqrt(spread):
        premise = (
            " the calibration of the model holds for these texts"
            if report.credits
            else ", of two exits that differ, the deeper one is right (Strong Dominance)"
        )
        behind += (
            f"That is more than chance explains if{premise}. Labels can check this: "
            "`offramp policy evaluate`."
        )
    else:
        behind += "That may be chance."
    number = confidence.texts_to_flip
    change = (
        f"{counted(number, 'more text')} would change the choice if "
        f"{'it' if number == 1 else 'all of them'} spoke against it."
    )
    dearer = best.cost - rival.cost
    if cost_weight > 0 and dearer:
        tie = (margin + dearer) / dearer * cost_weight  # what it gains more, over what it costs
        if tie > 0:
            side = "above" if dearer > 0 else "below"
            change += f" So would a cost weight {side} {tie:.3g}; it is {cost_weight:g} now."
    return [behind, change]


def _deviation(stats: ExitStats, exit_: int) -> float:
    """Return the standard deviation of the mean credit of a step."""
    texts = max(1, stats.observed[exit_])
    variance = stats.squares[exit_] / (THOUSAND * texts) - _step(stats, exit_) ** 2
    return math.sqrt(max(0.0, variance) / texts)  # squares are rounded, the smallest to nothing


def by_its_own(report: DomainReport) -> ExitReport:
    """Return the exit of the best estimated reward; the one learnt where that is as good."""
    learnt = report.exits[report.learnt]
    known = [row for row in report.exits if row.reward is not None]
    best = max(known, key=lambda row: row.reward or 0.0, default=learnt)
    same = best.reward is None or learnt.reward is None or best.reward <= learnt.reward
    return learnt if same else best


def _differing(report: DomainReport, stats: ExitStats, exit_: int) -> tuple[float, int]:
    """Return the share of texts whose label differed from the reference's, and of how many."""
    if report.anchor:
        return stats.apart[exit_] / stats.observed[-1], stats.observed[-1]
    return stats.disagreed[exit_] / stats.observed[exit_], stats.observed[exit_]


def _named(row: ExitReport) -> str:
    return f"exit {row.exit} (layer {row.layer})"


def _saved(report: DomainReport) -> str:
    return f"So far {report.layers_saved or 0.0:.0%} of the layers did not have to run."
