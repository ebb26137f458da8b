"""Explains in plain words why a domain uses its exit, and what would change that."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from policy_state.stats import Z_95
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policy_state.algorithms.settings import PolicySettings
    from policy_state.reports.diagnosis import Diagnosis
    from policy_state.reports.domain import DomainReport, ExitReport
    from policy_state.stats import ExitStats
    from policy_state.store.values import DomainSnapshot


def explain(report: DomainReport, snapshot: DomainSnapshot, *, settings: PolicySettings) -> str:
    """Return one paragraph: which exit the domain is at, why, by how much, what would change it."""
    sentences = _held(report, snapshot)
    if settings.algorithm == "default" and settings.tolerance is not None:
        sentences += _within(report, snapshot.stats, settings.tolerance)
    else:
        sentences += _chosen(report, snapshot.stats)
        sentences += _compared(report, snapshot.stats, settings.cost_weight)
    sentences += findings(report.diagnosis)
    sentences += [f"Careful: {warning}." for warning in report.diagnosis.warnings]
    return " ".join(sentences)


def findings(diagnosis: Diagnosis) -> list[str]:
    """Return what was found of a choice without labels, a sentence each; warnings apart."""
    found = []
    if (agreement := diagnosis.agreement) is not None:
        found.append(
            f"Its label is that of the last exit on {agreement.share:.1%} of "
            f"{counted(agreement.texts, 'text')} "
            f"(95 % interval: {agreement.low:.1%} to {agreement.high:.1%})."
        )
    if (violations := diagnosis.violations) is not None and violations.share > 0:
        found.append(
            f"At least {violations.share:.1%} of {violations.texts} texts violate Strong "
            "Dominance: a shallower exit was right and a deeper one wrong."
        )
    if diagnosis.certificate is not None and diagnosis.certificate.holds:
        found.append(
            "The same exit is best whether exits are compared with the first or with the last one."
        )
    if diagnosis.drifts:
        times = f"{diagnosis.drifts} times" if diagnosis.drifts > 1 else "once"
        found.append(f"Its texts changed, and it started learning again, {times}.")
    if diagnosis.resets:
        times = f"{diagnosis.resets} times" if diagnosis.resets > 1 else "once"
        found.append(f"Operators reset it {times}.")
    return found


def _held(report: DomainReport, snapshot: DomainSnapshot) -> list[str]:
    sentences = []
    if snapshot.pin is not None:
        layer = report.exits[snapshot.pin].layer if snapshot.pin < len(report.exits) else "?"
        why = f" because: {snapshot.pin_reason}" if snapshot.pin_reason else ""
        sentences.append(f"An operator pinned it to exit {snapshot.pin} (layer {layer}){why}.")
    if snapshot.frozen:
        why = f" because: {snapshot.freeze_reason}" if snapshot.freeze_reason else ""
        sentences.append(f"An operator froze it{why}. Nothing new is counted.")
    return sentences


def _within(report: DomainReport, stats: ExitStats, tolerance: float) -> list[str]:
    """Return why it is at its exit where a tolerance chooses, not a reward."""
    chosen, last = report.exits[report.learnt], report.exits[-1]
    bounds = report.diagnosis.extra_error
    allowed = f"{100 * tolerance:.3g} % more errors than the last exit, {_named(last)}"
    if bounds is None:
        text = "No text has run to the last exit yet. All texts go there until a cheaper exit is "
        return [f"{text}certain to make at most {allowed}."]
    after = f"After {counted(report.texts, 'text')}"
    if chosen.exit != last.exit:
        text = f"{after} {_named(chosen)} is the cheapest exit that is certain to make at most "
        sure = f"{text}{allowed}: {_apart(stats, chosen.exit, bounds)}."
        return [sure, _saved(report)]
    text = f"{after} no cheaper exit is certain yet to make at most {allowed}"
    sentences = [f"{text}, so all texts go to the last exit."]
    cheaper = [row.exit for row in report.exits if row.cost < last.cost]
    if cheaper:
        closest = min(cheaper, key=lambda j: bounds[j])
        near = _named(report.exits[closest])
        sentences.append(f"The closest one is {near}: {_apart(stats, closest, bounds)}.")
    return sentences


def _apart(stats: ExitStats, exit_: int, bounds: Sequence[float]) -> str:
    full = stats.observed[-1]
    return (
        f"its label differed from that of the last exit in {stats.apart[exit_] / full:.1%} of "
        f"{full} texts, so it makes at most {bounds[exit_]:.1%} more errors "
        "(true in 19 of 20 domains)"
    )


def _chosen(report: DomainReport, stats: ExitStats) -> list[str]:
    best, anchor = report.exits[report.learnt], report.exits[report.anchor]
    here = _named(best)
    if report.texts == 0:
        text = f"No text has been counted yet. Its texts start at {here}. "
        return [text + "A few go to the last exit instead, to see what every exit says of them."]
    unseen = [str(row.exit) for row in report.exits if not row.observed]
    if unseen:
        text = (
            f"After {counted(report.texts, 'text')} no text has reached exit {', '.join(unseen)} "
            f"yet. Texts go to {here}, and a few go "
        )
        return [text + "to the last exit, to see what every exit says of them."]
    if best.reward is None:
        return [f"After {counted(report.texts, 'text')} it uses {here}."]
    if (own := by_its_own(report)) is not best:
        text = (
            f"After {counted(report.texts, 'text')} it uses {here}. Its own texts are "
            "still few, so what other domains have shown counts too. "
        )
        text += f"By its own texts alone {_named(own)} has the best estimated reward, "
        return [f"{text}{own.reward:z.4f} compared with {best.reward:z.4f}.", _saved(report)]
    text = (
        f"After {counted(report.texts, 'text')} {here} has the best estimated "
        f"reward (error saved minus cost), {best.reward:z.4f}: "
    )
    if anchor.exit == 0:
        share, texts = _differing(report, stats, best.exit)
        text += f"its label differed from that of exit 0 in {share:.1%} of "
        text += f"{counted(texts, 'text')}, and it costs {best.cost - anchor.cost:.4f} more."
    elif best.exit == anchor.exit:
        text += "it is the last exit, with which all others are compared here."
    else:
        share, texts = _differing(report, stats, best.exit)
        text += f"its label differed from that of the last exit in {share:.1%} of "
        text += f"{counted(texts, 'text')}, and it costs {anchor.cost - best.cost:z.4f} less."
    return [text, _saved(report)]


def _compared(report: DomainReport, stats: ExitStats, cost_weight: float) -> list[str]:
    """Return how far the runner-up is behind, and what would make it the choice."""
    confidence = report.diagnosis.confidence
    if confidence is None or not all(row.observed for row in report.exits):
        return []
    if by_its_own(report) is not report.exits[report.learnt]:
        return []
    best, rival = report.exits[report.learnt], report.exits[confidence.runner_up]
    margin, spread = confidence.margin, 0.0
    for row in (best, rival):
        share, texts = _differing(report, stats, row.exit)
        spread += share * (1 - share) / texts
    sentences = [f"The second best is {_named(rival)}, {margin:.4f} behind, which {{sure}}."]
    if margin > Z_95 * math.sqrt(spread):
        sure = "is more than chance explains"
        sentences.append(
            "This assumes that the deeper of two exits that differ is right (Strong Dominance); "
            "check it with labels: `offramp policy evaluate`."
        )
    else:
        sure = "may be chance"
    sentences[0] = sentences[0].format(sure=sure)
    dearer = best.cost - rival.cost
    if cost_weight > 0 and dearer:
        tie = (margin + dearer) / dearer * cost_weight  # what it gains more, over what it costs
        if tie > 0:
            side = "above" if dearer > 0 else "below"
            sentences.append(
                f"It would win at a cost weight {side} {tie:.3g}; the weight is "
                f"{cost_weight:g} now."
            )
    flip = (
        f"{counted(confidence.texts_to_flip, 'more text')} that all contradict the present "
        f"exit would change the choice."
    )
    return [*sentences, flip]


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
    return f"So far this has saved {report.layers_saved or 0.0:.0%} of the layers."
