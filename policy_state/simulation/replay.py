"""Replays: what an algorithm does on a recorded matrix, text by text or in batches."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from policy_state.algorithms.arrays import Counters
from policy_state.algorithms.drift import BLOCK_TEXTS, DriftWatch, DriftWindow
from policy_state.algorithms.exploring import ExploringAlgorithm
from policy_state.algorithms.uee_ucb import UeeUcb
from policy_state.counting import TextArrays
from policy_state.errors import InvalidInput
from policy_state.simulation.matrix import Matrix
from policy_state.stats import ADDS, ExitStats
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from policy_state.algorithms.base import Algorithm


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who decides on what: `workers` take a batch each from the same counters, round by round.

    A round's texts are counted `delay` rounds after it; 0: before the next round.
    """

    workers: int = 1
    batch: int = 1
    delay: int = 0

    def __post_init__(self) -> None:
        """Refuse fleets that cannot be."""
        if self.workers < 1 or self.batch < 1 or self.delay < 0:
            raise InvalidInput(
                f"{counted(self.workers, 'worker')}, batches of {self.batch}, delay "
                f"{self.delay}; expected at "
                "least 1, 1 and 0"
            )

    @property
    def one_by_one(self) -> bool:
        """Whether every text is decided on with all texts before it counted."""
        return self.workers == self.batch == 1 and not self.delay


@dataclass(frozen=True, slots=True)
class Replay:
    """What happened in every trial."""

    orders: NDArray[np.intp]  # (trials, texts): which row of the matrix came when
    exits: NDArray[np.int8]  # (trials, texts): where it stopped
    resets: tuple[tuple[int, ...], ...]  # of each trial: after how many texts it started afresh

    def counts(self, exits: int) -> NDArray[np.int64]:
        """Return how many texts stopped at each exit, (trials, exits)."""
        return np.stack([np.bincount(trial, minlength=exits) for trial in self.exits])


def shuffles(rows: int, trials: int, *, texts: int | None = None) -> NDArray[np.intp]:
    """Return the order of each trial, (trials, texts); rows come again where texts are more.

    Trial i is `RandomState(i).permutation`, the order of the authors' `sample(frac=1,
    random_state=i)`; further rounds through the rows go on with the same generator.
    """
    wanted = rows if texts is None else texts
    orders = []
    for trial in range(trials):
        generator = np.random.RandomState(trial)
        rounds = [generator.permutation(rows) for _ in range(-(-wanted // rows))]
        orders.append(np.concatenate(rounds)[:wanted])
    return np.stack(orders)


def replay(  # noqa: PLR0913 - who, what texts, in which order, decided on by whom
    algorithm: Algorithm,
    labels: NDArray[np.int8],
    orders: NDArray[np.intp],
    *,
    credits: NDArray[np.integer] | None = None,
    fleet: Fleet = Fleet(),
    pool: ExitStats | None = None,
) -> Replay:
    """Return what the algorithm does when the rows of a matrix arrive in the given orders.

    Trial i draws from `random.Random(i)`. The default one starts afresh where it sees drift.

    Args:
        algorithm: For as many exits as the matrix has columns.
        labels: The label of every exit on every text, (rows, exits).
        credits: What each step is worth, in thousandths, (rows, exits), for a calibrated model.
        orders: From `shuffles`, or any other, (trials, texts).
        fleet: Who decides on what.
        pool: What other domains have learnt, for the events of a batch that do not explore.
    """
    if not orders.size:
        raise InvalidInput("a matrix without texts cannot be replayed")
    if len(algorithm.costs) != labels.shape[1]:
        raise InvalidInput(
            f"{counted(len(algorithm.costs), 'cost')} for a matrix of "
            f"{counted(labels.shape[1], 'exit')}"
        )
    if fleet.one_by_one and isinstance(algorithm, UeeUcb):
        exits = uee_ucb_one_by_one(labels, orders, algorithm.costs, alpha=algorithm.alpha)
        return Replay(orders, exits, ((),) * len(orders))
    if fleet.one_by_one and isinstance(algorithm, ExploringAlgorithm):
        return _default_one_by_one(algorithm, labels, orders, credits)
    trials = []
    for trial, order in enumerate(orders):
        texts = Matrix(labels[order], credits=None if credits is None else credits[order])
        trials.append(_in_batches(algorithm, texts, trial, fleet, pool))
    return Replay(orders, np.stack([e for e, _ in trials]), tuple(r for _, r in trials))


def uee_ucb_one_by_one(
    labels: NDArray[np.int8],
    orders: NDArray[np.intp],
    costs: Sequence[float],
    *,
    alpha: float = 1.0,
) -> NDArray[np.int8]:
    """Return the exits that UEE-UCB plays, (trials, texts).

    All trials advance together, one text each per step; the arithmetic is that of
    `uee_ucb.choose_exit`, in the same order.

    >>> labels = np.array([[0, 1], [0, 1]], dtype=np.int8)
    >>> uee_ucb_one_by_one(labels, shuffles(2, 1), (0.0, 0.5)).tolist()
    [[1, 1]]
    """
    trials, texts = orders.shape
    disagrees = (labels != labels[:, :1]).astype(np.float64)
    reach = np.tri(labels.shape[1])  # row k: 1 for every exit that a text stopping at k computes
    first_cost, cost = costs[0], np.asarray(costs, dtype=np.float64)
    # Counts in floating point: exact far beyond any file, and no conversion in the loop.
    observed = np.ones((trials, len(cost)))  # the first text goes to the last exit, which sees all
    disagreed = disagrees[orders[:, 0]]
    exits = np.full((texts, trials), len(cost) - 1, dtype=np.int8)
    rows = np.ascontiguousarray(orders.T)
    for text in range(1, texts):
        bonus = np.sqrt(alpha * math.log(text + 1) / observed)
        chosen = (disagreed / observed + first_cost - cost + bonus).argmax(axis=1)
        seen = reach[chosen]
        observed += seen
        disagreed += disagrees[rows[text]] * seen
        exits[text] = chosen
    return exits.T


def _default_one_by_one(
    algorithm: ExploringAlgorithm,
    labels: NDArray[np.int8],
    orders: NDArray[np.intp],
    credits: NDArray[np.integer] | None,
) -> Replay:
    """Return what the default does; all trials advance together, one text each per step."""
    trials, texts = orders.shape
    of = TextArrays.of(labels, credits, scores=None, chosen=None)
    # (rows, kinds, exits): what a text adds that runs to the end
    each = np.stack([ADDS[kind](of) for kind in Counters._fields], axis=1).astype(np.float64)
    exits_ = labels.shape[1]
    kinds = len(Counters._fields)
    reach = np.repeat(np.tri(exits_)[:, None], kinds, axis=1)
    reach[:-1, Counters._fields.index("apart")] = 0  # counted where the last exit ran only
    sums = np.zeros((trials, kinds, exits_))
    marks = sums.copy()  # the sums when drift was last looked for
    draws = np.stack([_draws(i, texts) for i in range(trials)], axis=1)
    windows = [_window(algorithm, exits_) for _ in range(trials)]
    resets: list[list[int]] = [[] for _ in range(trials)]
    exits = np.empty((texts, trials), dtype=np.int8)
    rows = np.ascontiguousarray(orders.T)
    for text in range(texts):
        counters = Counters(*sums.swapaxes(0, 1))
        exits[text] = chosen = algorithm.decide_one_each(counters, draws[text])
        sums += each[rows[text]] * reach[chosen]
        if text % BLOCK_TEXTS == BLOCK_TEXTS - 1 and algorithm.drift:
            for trial, new in enumerate(sums - marks):
                if windows[trial].add(Counters(*new), Counters(*sums[trial])):
                    sums[trial] = 0
                    windows[trial] = _window(algorithm, exits_)
                    resets[trial].append(text + 1)
            marks = sums.copy()
    return Replay(orders, exits.T, tuple(map(tuple, resets)))


def _in_batches(
    algorithm: Algorithm,
    arriving: Matrix,
    trial: int,
    fleet: Fleet,
    pool: ExitStats | None,
) -> tuple[NDArray[np.int8], tuple[int, ...]]:
    """Return where the texts of one trial stop, and after how many it started afresh."""
    texts, exits_ = arriving.labels.shape
    watches = [DriftWatch(exits_, evidence=algorithm.drift) for _ in range(fleet.workers)]
    generators = [random.Random(trial * 1000 + worker) for worker in range(fleet.workers)]
    generators[0].seed(trial)
    known, epoch = ExitStats.zeros(exits_), 0
    in_flight: deque[list[ExitStats]] = deque()
    exits = np.empty(texts, dtype=np.int8)
    resets = []
    for round_start in range(0, texts, fleet.workers * fleet.batch):
        deltas = []
        for worker, generator in enumerate(generators):
            start = round_start + worker * fleet.batch
            part = slice(start, start + fleet.batch)
            batch = arriving.labels[part].copy()
            chosen = algorithm.decide(
                known, len(batch), rng=generator, workers=fleet.workers, pool=pool
            ).exits
            exits[start : start + len(batch)] = chosen
            batch[np.arange(exits_) > np.array(chosen, dtype=np.intp)[:, None]] = -1
            worth = None if arriving.credits is None else arriving.credits[part]
            deltas.append(ExitStats.from_matrix(batch, credits=worth))
        in_flight.append(deltas)
        if len(in_flight) <= fleet.delay:
            continue
        landed = in_flight.popleft()
        if not landed:  # decided on before the domain started afresh
            continue
        known = sum(landed, known)
        alarms = [
            watch.add("", delta, known=known, epoch=epoch)
            for watch, delta in zip(watches, landed, strict=True)
        ]
        if any(alarms):
            known, epoch = ExitStats.zeros(exits_), epoch + 1
            in_flight = deque([[]] * len(in_flight))
            resets.append(min(texts, round_start + fleet.workers * fleet.batch))
    return exits, tuple(resets)


def _draws(trial: int, texts: int) -> NDArray[np.float64]:
    generator = random.Random(trial)
    return np.array([generator.random() for _ in range(texts)])


def _window(algorithm: ExploringAlgorithm, exits: int) -> DriftWindow:
    return DriftWindow(exits, evidence=algorithm.drift)
