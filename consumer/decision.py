"""How deep each text of a micro-batch goes, and which texts are held out or audited to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from policy_state.algorithms.arrays import Chosen
from policy_state.algorithms.gate import AUDIT_SHARE, threshold
from policy_state.reports.domain import exit_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from policy_state.algorithms.base import Algorithm
    from policy_state.stats import ExitStats
    from policy_state.store.values import DomainSnapshot


@dataclass(frozen=True, slots=True)
class Peers:
    """What a worker knows of the others, so that all of them together explore enough, not more."""

    workers: int = 1  # that decide on about the same counters at the same time
    pool: ExitStats | None = None  # of all domains together


ALONE: Final = Peers()


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


def exits_of(
    algorithm: Algorithm, snapshot: DomainSnapshot, count: int, rng: random.Random, peers: Peers
) -> Chosen:
    """Return the exits of a domain's events; those of a pinned or frozen one do not explore."""
    if snapshot.pin is not None or snapshot.frozen:
        exit_ = exit_of(snapshot, algorithm, pool=peers.pool)
        return Chosen((exit_,) * count, exit_)
    return algorithm.decide(
        snapshot.corrected, count, rng=rng, workers=peers.workers, pool=peers.pool
    )


def gate_of(snapshot: DomainSnapshot, settled: int, promise: float) -> int:
    """Return the score, in thousandths, at which a domain's texts may stop sooner; 0: at none.

    The gate is for texts that go to the exit that the domain has settled on, so that texts that
    explore, and probes, show all exits up to theirs. A frozen domain has none: its texts are not
    counted, so it would not show that its gate breaks the promise.
    """
    return 0 if snapshot.frozen else threshold(snapshot.stats, settled, promise)


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
