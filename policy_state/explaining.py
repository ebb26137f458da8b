"""Why a domain is at its exit, in words: what is known, by how much, and what would change it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from policy_state.diagnostics import Diagnosis
    from policy_state.report import DomainReport, ExitReport
    from policy_state.store import DomainSnapshot

_Z_95: Final = 1.959964


def explain(report: DomainReport, snapshot: DomainSnapshot, *, cost_weight: float) -> str:
    """Return one paragraph: which exit the domain is at, why, by how much, what would change it."""
    sentences = [*_held(report, snapshot), *_chosen(report)]
    confidence = report.diagnosis.confidence
    if confidence is not None and all(row.observed for row in report.exits):
        rival = report.exits[confidence.runner_up]
        sentences += _margin(report.exits[report.exit], rival, cost_weight)
        sentences.append(
            f"{confidence.texts_to_flip} texts that all spoke against it would change the choice."
        )
    sentences += findings(report.diagnosis)
    sentences += [f"Careful: {warning}." for warning in report.diagnosis.warnings]
    return " ".join(sentences)


def findings(diagnosis: Diagnosis) -> list[str]:
    """Return what was found of a choice without labels, a sentence each; warnings apart."""
    found = []
    if (agreement := diagnosis.agreement) is not None:
        found.append(
            f"It agrees with the last exit on {agreement.share:.1%} of {agreement.texts} texts "
            f"(95 %: {agreement.low:.1%} to {agreement.high:.1%})."
        )
    if (violations := diagnosis.violations) is not None and violations.share > 0:
        found.append(
            f"{violations.share:.1%} of {violations.texts} texts surely violate Strong Dominance."
        )
    if diagnosis.certificate is not None and diagnosis.certificate.holds:
        found.append("Counted from the first exit or from the last, the same exit is best.")
    if diagnosis.drifts:
        found.append(f"It was started afresh {diagnosis.drifts} times.")
    return found


def _held(report: DomainReport, snapshot: DomainSnapshot) -> list[str]:
    sentences = []
    if snapshot.pin is not None:
        layer = report.exits[snapshot.pin].layer if snapshot.pin < len(report.exits) else "?"
        why = f" ({snapshot.pin_reason})" if snapshot.pin_reason else ""
        sentences.append(f"An operator pinned it to exit {snapshot.pin}, layer {layer}{why}.")
    if snapshot.frozen:
        why = f" ({snapshot.freeze_reason})" if snapshot.freeze_reason else ""
        sentences.append(f"It is frozen{why}: nothing new is counted.")
    return sentences


def _chosen(report: DomainReport) -> list[str]:
    best = report.exits[report.exit]
    here = f"exit {best.exit} (layer {best.layer})"
    if report.texts == 0:
        text = f"No text was counted yet: its texts start at {here}, "
        return [text + "and the first that explore go to the last exit, which observes all."]
    unseen = [str(row.exit) for row in report.exits if not row.observed]
    if unseen:
        text = (
            f"After {report.texts} texts exit {', '.join(unseen)} was never observed: texts that "
        )
        return [text + f"explore go to the last exit, which observes all, the others to {here}."]
    if best.reward is None:
        return [f"After {report.texts} texts it is at {here}."]
    text = f"After {report.texts} texts {here} has the best estimated reward, {best.reward:.4f}: "
    text += f"its label differed from exit 0's in {best.disagreement or 0.0:.1%} of "
    text += (
        f"{best.observed} texts, at a cost of {best.cost - report.exits[0].cost:.4f} over exit 0."
    )
    return [text, f"So far {report.layers_saved or 0.0:.0%} of the layers were saved."]


def _margin(best: ExitReport, rival: ExitReport, cost_weight: float) -> list[str]:
    margin = (best.reward or 0.0) - (rival.reward or 0.0)
    spread = math.sqrt(sum(_variance(row) for row in (best, rival)))
    sure = "clear" if margin > _Z_95 * spread else "within chance"
    runner_up = f"The runner-up is exit {rival.exit} (layer {rival.layer})"
    sentences = [f"{runner_up}, {margin:.4f} behind, which is {sure}."]
    gain = (best.disagreement or 0.0) - (rival.disagreement or 0.0)
    if cost_weight > 0 and best.cost != rival.cost:
        tie = gain / ((best.cost - rival.cost) / cost_weight)
        if tie > 0:
            side = "above" if best.cost > rival.cost else "below"
            sentences.append(
                f"It would win at a cost weight {side} {tie:.3g}; the weight is {cost_weight:g}."
            )
    return sentences


def _variance(row: ExitReport) -> float:
    share = row.disagreement or 0.0
    return share * (1 - share) / row.observed if row.observed else 0.0
