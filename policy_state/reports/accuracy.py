"""The accuracy of each exit, estimated from the confidence of a calibrated model, without labels.

The last exit is right about as often as its calibrated confidence says, on average over the texts
that ran to it: acc_K. Exit j gives the last exit's label to a share g_j of these texts. It is right
if it gives that label and the last exit is right, and sometimes if both are different and the last
exit is wrong:

    acc_j = acc_K g_j + (1 - acc_K) (1 - g_j) / (classes - 1)

On 15 domains and 4 models with labels the mean error was 4.2 points. Texts unlike those of the
calibration make a model more confident than it should be, so there the estimate is too high.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from policy_state.counting import THOUSAND
from policy_state.reports.shares import Share

if TYPE_CHECKING:
    from policy_state.stats import ExitStats


def estimated_accuracy(stats: ExitStats, *, classes: int) -> tuple[Share, ...] | None:
    """Return the estimate of each exit; None before a text has run to the last exit.

    The interval has what chance does to the texts seen. It does not have the error of the
    calibration in this domain.

    Args:
        stats: Counters of a domain of a calibrated model.
        classes: That the model has, 2 or more.
    """
    texts = stats.observed[-1]
    # No confidence is below that of a guess, so it spreads less than from 0 to 1.
    guess = 1 / classes
    above = stats.confidence[-1] / THOUSAND - guess * texts
    sure = Share.of(max(0.0, above) / (1 - guess), texts)
    if sure is None:
        return None
    agreed = (Share.of(texts - min(texts, apart), texts) for apart in stats.apart)
    last = _ends(sure, lowest=guess)
    return tuple(_right(last, _ends(same), texts, classes) for same in agreed if same)


def _ends(share: Share, *, lowest: float = 0.0) -> tuple[float, ...]:
    """Return a share and the ends of its interval, stretched to `lowest` and above."""
    return tuple(lowest + (1 - lowest) * end for end in (share.share, share.low, share.high))


def _right(last: tuple[float, ...], same: tuple[float, ...], texts: int, classes: int) -> Share:
    """Return acc_j.

    The ends of its interval are found as for a sum: each argument alone at its ends, both together
    as the root of the squares.
    """

    def right(accuracy: float, agreement: float) -> float:
        return accuracy * agreement + (1 - accuracy) * (1 - agreement) / (classes - 1)

    value = right(last[0], same[0])
    moved = [
        [right(end, same[0]) - value for end in last],
        [right(last[0], end) - value for end in same],
    ]
    low = value - math.hypot(*(min(ends) for ends in moved))
    high = value + math.hypot(*(max(ends) for ends in moved))
    return Share(value, max(0.0, low), min(1.0, high), texts)
