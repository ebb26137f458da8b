"""Why a domain is at its exit, in words and with intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from policy_state.report import DomainReport, ExitReport
    from policy_state.store import DomainSnapshot

Z_95: Final = 1.959964


def interval(hits: int, trials: int, *, z: float = Z_95) -> tuple[float, float] | None:
    """Return the Wilson interval of a share, 95 % by default; None without trials.

    >>> [round(end, 3) for end in interval(5, 20)]
    [0.112, 0.469]
    """
    if trials == 0:
        return None
    share = hits / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z
        / (1 + z * z / trials)
        * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def explain(report: DomainReport, snapshot: DomainSnapshot, *, cost_weight: float) -> str:
    """Return one paragraph: which exit the domain is at, why, by how much, what would change it."""
    sentences = [*_held(report, snapshot), *_chosen(report)]
    rivals = [row for row in report.exits if row.reward is not None and row.exit != report.exit]
    best = report.exits[report.exit]
    if best.reward is None or not rivals or not all(row.observed for row in report.exits):
        return " ".join(sentences)
    rival = max(rivals, key=lambda row: row.reward or 0.0)
    sentences += _margin(best, rival, cost_weight)
    return " ".join(sentences)


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
    if report.texts == 0:
        return ["No text was counted yet; the first goes to the last exit, which observes all."]
    unseen = [str(row.exit) for row in report.exits if not row.observed]
    if unseen:
        never = ", ".join(unseen)
        text = f"After {report.texts} texts exit {never} was never observed, so the next text goes "
        return [text + "to the last exit, which observes all."]
    best = report.exits[report.exit]
    text = f"After {report.texts} texts exit {best.exit} (layer {best.layer}) has the best mean "
    text += f"reward, {best.reward:.4f}: its label differed from exit 0's in "
    text += f"{best.disagreement:.1%} of {best.observed} texts, at a cost of "
    text += f"{best.cost - report.exits[0].cost:.4f} over exit 0."
    saved = f"So far {report.layers_saved or 0.0:.0%} of the layers were saved."
    return [text, saved]


def _margin(best: ExitReport, rival: ExitReport, cost_weight: float) -> list[str]:
    margin = (best.reward or 0.0) - (rival.reward or 0.0)
    spread = math.sqrt(sum(_variance(row) for row in (best, rival)))
    sure = "clear" if margin > Z_95 * spread else "within chance"
    runner_up = f"The runner-up is exit {rival.exit} (layer {rival.layer})"
    sentences = [
        f"{runner_up}, {margin:.4f} behind, which is {sure}.",
        f"It would win if it disagreed with exit 0 in {margin:.1%} more of the texts.",
    ]
    gain = (best.disagreement or 0.0) - (rival.disagreement or 0.0)
    if cost_weight > 0 and best.cost != rival.cost:
        price = (best.cost - rival.cost) / cost_weight
        tie = gain / price
        if tie > 0:
            side = "above" if best.cost > rival.cost else "below"
            sentences.append(f"So would a cost weight {side} {tie:.3g}; it is {cost_weight:g}.")
    return sentences


def _variance(row: ExitReport) -> float:
    share = row.disagreement or 0.0
    return share * (1 - share) / row.observed if row.observed else 0.0
