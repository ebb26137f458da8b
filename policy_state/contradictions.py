"""What no texts can have made: counters that contradict each other."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from policy_state.stats import MOST
from policy_state.wording import counted

if TYPE_CHECKING:
    from policy_state.stats import ExitStats


def contradictions(stats: ExitStats) -> list[str]:
    """Return what no texts can have made, for people; nothing where the counters are sound.

    >>> from policy_state.stats import ExitStats
    >>> contradictions(ExitStats(observed=(2, 3), disagreed=(0, 0), played=(0, 2)))
    ['exit 1 was observed 3 times, exit 0 only 2 times']
    """
    found = [
        f"exit {j + 1} was observed {counted(deep, 'time')}, exit {j} only "
        f"{counted(shallow, 'time')}"
        for j, (shallow, deep) in enumerate(pairwise(stats.observed))
        if deep > shallow
    ]
    found += [
        f"exit {j} {kind} {counted(count, 'time')} in {counts[0]}"
        for j, counts in enumerate(stats.by_exit())
        for (kind, most), count in zip(MOST.items(), counts, strict=True)
        if count > counts[0] and count > most * counts[0]  # inf * 0 is no number
    ]
    if sum(stats.played) != stats.observed[0]:
        found.append(
            f"{counted(sum(stats.played), 'text')} stopped, {stats.observed[0]} computed exit 0"
        )
    return found
