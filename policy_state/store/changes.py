"""What a change does to a domain's record; the same arithmetic as in `change.lua`."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from policy_state.stats import MISLED, MOST, ExitStats
from policy_state.store.admin import (
    Change,
    Freeze,
    Label,
    Pin,
    Remove,
    Reset,
    Unfreeze,
    Unlabel,
    Unpin,
)
from policy_state.store.values import DomainSnapshot

if TYPE_CHECKING:
    from collections.abc import Sequence


def changed(  # noqa: PLR0911 - one per kind of change
    record: DomainSnapshot, change: Change, *, reason: str, now_ms: int, automatic: bool = False
) -> DomainSnapshot | None:
    """Return the record after the change; None where it is removed."""
    exits = record.stats.exits
    match change:
        case Pin(exit=exit_, for_ms=for_ms):
            until_ms = None if for_ms is None else now_ms + for_ms
            return replace(record, pin=exit_, pin_until_ms=until_ms, pin_reason=reason)
        case Unpin():
            return replace(record, pin=None, pin_until_ms=None, pin_reason="")
        case Freeze():
            return replace(record, frozen=True, freeze_reason=reason)
        case Unfreeze():
            return replace(record, frozen=False, freeze_reason="")
        case Reset(keep=keep):
            if keep == 0:
                return replace(
                    record,
                    stats=ExitStats.zeros(exits),
                    epoch=record.epoch + 1,
                    drifts=record.drifts + automatic,
                    labels=None,
                )
            return replace(record, stats=scaled(record.stats, keep), labels=None)
        case Label(labels=labels):
            return replace(record, labels=labels)
        case Unlabel():
            return replace(record, labels=None)
        case Remove():
            return None


def scaled(stats: ExitStats, share: float) -> ExitStats:
    """Return about a share of the counters, whole numbers that still hang together.

    Played is rounded down, observed follows from it, and whatever else was counted at an exit
    shrinks with the texts observed there. What a gate would have changed is a share of the texts
    played, rounded up: a gate that is closed by all counters does not open by a share of them.

    >>> half = scaled(ExitStats(observed=(9, 5), disagreed=(0, 3), played=(4, 5)), 0.5)
    >>> half.observed, half.disagreed, half.played
    ((4, 2), (0, 1), (2, 2))
    """
    played = [math.floor(count * share) for count in stats.played]
    observed = list(accumulate(reversed(played)))[::-1]

    def shrunk(counts: Sequence[int], most: float) -> tuple[int, ...]:
        if math.isinf(most):  # texts that are not among those observed
            return tuple(math.floor(n * share) for n in counts)
        rows = zip(counts, stats.observed, observed, strict=True)
        return tuple(
            min(math.floor(n * (new / old)), int(most) * new) if old else 0 for n, old, new in rows
        )

    def shrunk_misled(counts: Sequence[int]) -> tuple[int, ...]:
        return tuple(min(math.ceil(n * share), new) for n, new in zip(counts, played, strict=True))

    rest = {name: shrunk(getattr(stats, name), most) for name, most in MOST.items()}
    rest |= {name: shrunk_misled(getattr(stats, name)) for name in MISLED}
    return ExitStats(**rest | {"observed": tuple(observed), "played": tuple(played)})
