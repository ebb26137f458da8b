"""How deep each text of a micro-batch goes, and which texts are held out or audited to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from policy_state.algorithms.gate import AUDIT_SHARE, may_open, threshold
from policy_state.reports.domain import exit_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from policy_state.algorithms.base import Algorithm
    from policy_state.stats import ExitStats
    from policy_state.store.values import DomainSnapshot


class Decision(NamedTuple):
    """How deep one text goes."""

    exit: int
    chosen: int | None = None
    """Only of a text of the holdout: the exit that it would stop at. It runs to the last one."""
    gate: int = 0
    """The score, in thousandths, at which it stops sooner, or would if it were not held out."""

    @property
    def applied(self) -> int:
        """The gate that the model is to apply."""
        return self.gate if self.chosen is None else 0


def gate_of(
    algorithm: Algorithm, snapshot: DomainSnapshot, promise: float, *, pool: ExitStats | None
) -> tuple[int, int]:
    """Return the exit that texts of a domain may stop before, and at which score, in thousandths.

    It is the exit that the domain has settled on, so that texts that explore, and probes, show all
    exits up to theirs. The score is 0 if the gate is closed. A frozen domain has none: its texts
    are not counted, so it would not show that its gate breaks the promise.
    """
    if not promise or snapshot.frozen or not may_open(snapshot.stats):
        return 0, 0
    settled = exit_of(snapshot, algorithm, pool=pool)
    return settled, threshold(snapshot.stats, settled, promise)


def with_holdout(
    exits: Sequence[int], gates: Sequence[int], share: float, *, last: int, rng: random.Random
) -> list[Decision]:
    """Return the decisions of a batch; each text is held out with the same chance.

    This includes texts that go to the last exit anyway: without them, what is measured would say
    nothing of all texts. Of the texts with a gate some do not meet it, also by chance.

    >>> from random import Random
    >>> with_holdout([0, 2], [0, 900], 1.0, last=2, rng=Random(0))
    [Decision(exit=2, chosen=0, gate=0), Decision(exit=2, chosen=2, gate=900)]
    """
    draw = rng.random
    if any(gates):
        gates = [gate if gate and draw() >= AUDIT_SHARE else 0 for gate in gates]
        usual = list(map(Decision, exits, [None] * len(exits), gates))
    else:
        made = [Decision(exit_) for exit_ in range(last + 1)]
        usual = [made[exit_] for exit_ in exits]
    if not share:
        return usual
    return [Decision(last, d.exit, d.gate) if draw() < share else d for d in usual]
