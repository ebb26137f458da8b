"""How deep each text of a micro-batch goes, and which texts are held out to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence


class Decision(NamedTuple):
    """How deep one text goes."""

    exit: int
    chosen: int | None = None
    """Only of a text of the holdout: the exit that it would stop at. It runs to the last one."""


def with_holdout(
    exits: Sequence[int], share: float, *, last: int, rng: random.Random
) -> list[Decision]:
    """Return the decisions of a batch; each text is held out with the same chance.

    This includes texts that go to the last exit anyway: without them, what is measured would say
    nothing of all texts.

    >>> from random import Random
    >>> with_holdout([0, 2], 1.0, last=2, rng=Random(0))
    [Decision(exit=2, chosen=0), Decision(exit=2, chosen=2)]
    """
    usual = [Decision(exit_) for exit_ in range(last + 1)]
    if not share:
        return [usual[exit_] for exit_ in exits]
    draw = rng.random
    return [Decision(last, exit_) if draw() < share else usual[exit_] for exit_ in exits]
