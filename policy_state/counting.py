"""Labels, credits and scores of texts as arrays, which counters are sums of."""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

THOUSAND: Final = 1000
"""Credits and scores are whole numbers of thousandths."""

GATE_GRID: Final = (600, 650, 700, 750, 800, 830, 860, 890, 920, 940, 960, 975, 990)
"""The scores, in thousandths, between which the gate of a domain chooses its threshold."""

_NO_LABEL: Final = -1


class TextArrays(NamedTuple):
    """What exits said of some texts, each (texts, exits): what kinds of counters are made of."""

    labels: NDArray[np.integer]
    ran: NDArray[np.bool_]
    stopped: NDArray[np.bool_]
    differs: NDArray[np.bool_]  # from exit 0
    steps: NDArray[np.integer]  # 1: it differs from exit 0 here and not one exit before; -1: back
    duels: NDArray[np.bool_]  # it differs from the exit before
    credits: NDArray[np.integer]  # in thousandths, like their squares and the scores
    squares: NDArray[np.integer]
    scores: NDArray[np.integer]
    sure_before: NDArray[np.integer]  # the largest score of the exits before
    parting: NDArray[np.bool_]  # the label is not that of the exit where the text stopped
    held: NDArray[np.bool_]  # at the exit that would have been sent
    nothing: NDArray[Any]  # stands for all of which nothing was given

    @classmethod
    def of(
        cls,
        labels: NDArray[np.integer],
        credits: NDArray[np.integer] | None,
        scores: NDArray[np.integer] | None,
        chosen: NDArray[np.integer] | None,
    ) -> Self:
        """Return it of labels, -1 where an exit did not run; see `ExitStats.from_matrix`."""
        import numpy as np  # here, so that looking at counters does not wait for it

        def where_ran(thousandths: NDArray[np.integer] | None) -> NDArray[np.integer]:
            return nothing if thousandths is None else thousandths.astype(np.int32) * ran

        nothing: NDArray[Any] = np.zeros(labels.shape, dtype=np.bool_)
        ran = labels != _NO_LABEL
        held = nothing
        if chosen is not None:
            held = (np.arange(labels.shape[1]) == chosen[:, None]) & ran[:, -1:]
        differs = (labels != labels[:, :1]) & ran
        stopped = ran & ~np.pad(ran[:, 1:], ((0, 0), (0, 1)))
        steps = np.diff(differs.astype(np.int8), axis=1, prepend=0)
        worth, sureness = where_ran(credits), where_ran(scores)
        surest = np.maximum.accumulate(sureness, axis=1)
        final = np.where(stopped, labels, _NO_LABEL).max(axis=1, initial=_NO_LABEL, keepdims=True)
        return cls(
            labels=labels,
            ran=ran,
            stopped=stopped,
            differs=differs,
            steps=steps,
            duels=(np.diff(labels, axis=1, prepend=labels[:, :1]) != 0) & ran,
            credits=worth,
            squares=nothing if credits is None else squared(worth),
            scores=sureness,
            sure_before=np.pad(surest[:, :-1], ((0, 0), (1, 0))),
            parting=labels != final,
            held=held,
            nothing=nothing,
        )

    def misled(self, threshold: int) -> NDArray[np.bool_]:
        """Return of which texts the gate would have sent another label, where they stopped."""
        if self.scores is self.nothing:  # without a calibration there is no gate, nor work for it
            return self.nothing
        first = (self.sure_before < threshold) & (threshold <= self.scores) & self.parting
        return self.stopped & first.any(axis=1, keepdims=True)


def arrays_of(
    rows: Sequence[tuple[int, ...]],
    exits: int,
    credits: Sequence[Sequence[int]] | None = None,
    scores: Sequence[Sequence[int]] | None = None,
    chosen: Sequence[int | None] | None = None,
) -> dict[str, Any]:
    """Return the arguments of `ExitStats.from_matrix` for those of `from_texts`."""
    matrix = _matrix_of(rows, exits)
    return {
        "labels": matrix,
        "credits": None if credits is None else _thousandths(credits, matrix, "credit"),
        "scores": None if scores is None else _thousandths(scores, matrix, "score"),
        "chosen": None if chosen is None else _chosen_exits(chosen, matrix),
    }


def _matrix_of(rows: Sequence[tuple[int, ...]], exits: int) -> NDArray[np.integer]:
    """Return the labels of texts as a matrix (texts, exits); -1 where an exit did not run."""
    import numpy as np

    depths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    if rows and not (depths.min() >= 1 and depths.max() <= exits):
        wrong = next(len(row) for row in rows if not 1 <= len(row) <= exits)
        raise InvalidInput(
            f"{counted(wrong, 'exit label')} for one text, this policy has {counted(exits, 'exit')}"
        )
    ran = np.arange(exits) < depths[:, None]
    labels = np.full(ran.shape, _NO_LABEL)
    labels[ran] = _numbers(rows)
    return labels


def _thousandths(
    numbers: Sequence[Sequence[int]], labels: NDArray[np.integer], what: str
) -> NDArray[np.integer]:
    """Return credits or scores as a matrix, for texts with a matrix of labels."""
    import numpy as np

    ran = labels != _NO_LABEL
    _check(numbers, ran.sum(axis=1).tolist(), what)
    found = np.zeros(labels.shape, dtype=np.int64)
    found[ran] = _numbers(numbers)
    return found


def columns(
    numbers: Sequence[Sequence[int]],
    rows: Sequence[Sequence[int]],
    exits: int,
    what: str,
) -> list[tuple[int, ...]]:
    """Return credits or scores exit by exit, of texts with these labels."""
    _check(numbers, list(map(len, rows)), what)
    return list(zip_longest(*numbers, (0,) * exits, fillvalue=0))


def misleading(
    rows: Sequence[Sequence[int]], scores: Sequence[Sequence[int]]
) -> Iterator[tuple[int, int]]:
    """Return which thresholds would have sent another label of which texts.

    Each with the exit where the text stopped, and the place of the threshold in the grid.

    >>> list(misleading([(1, 0, 0)], [(750, 920, 990)]))
    [(2, 0), (2, 1), (2, 2), (2, 3)]
    """
    for labels, of_text in zip(rows, scores, strict=True):
        stop, reached = len(labels) - 1, 0
        if labels.count(labels[stop]) > stop:
            continue
        for label, score in zip(labels[:-1], of_text, strict=False):
            now = bisect_right(GATE_GRID, score)
            if label != labels[stop]:
                yield from ((stop, place) for place in range(reached, now))
            reached = max(reached, now)


def squared(credit: Any) -> Any:  # noqa: ANN401 - one number, or an array of them
    """Return the squares of thousandths, in thousandths."""
    return (credit * credit + THOUSAND // 2) // THOUSAND


def _check(numbers: Sequence[Sequence[int]], depths: list[int], what: str) -> None:
    if list(map(len, numbers)) != depths:
        raise InvalidInput(f"{what}s of {counted(len(numbers), 'text')} do not fit their labels")
    if numbers and (min(map(min, numbers)) < 0 or max(map(max, numbers)) > THOUSAND):
        raise InvalidInput(f"a {what} is outside 0..{THOUSAND} thousandths")


def _numbers(rows: Sequence[Sequence[int]]) -> NDArray[np.integer]:
    import numpy as np

    return np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=sum(map(len, rows)))


def _chosen_exits(chosen: Sequence[int | None], labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the exit that would have been sent of each text, -1 for the one where it stopped."""
    import numpy as np

    if len(chosen) != len(labels):
        raise InvalidInput(
            f"chosen exits of {counted(len(chosen), 'text')}, labels of {len(labels)}"
        )
    return np.array([_NO_LABEL if exit_ is None else exit_ for exit_ in chosen])
