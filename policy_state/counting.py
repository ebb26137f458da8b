"""Labels, credits and scores of texts as arrays, which counters are sums of."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from policy_state.errors import InvalidInput
from policy_state.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

THOUSAND: Final = 1000
"""Credits and scores are whole numbers of thousandths."""

_NO_LABEL: Final = -1


class TextArrays(NamedTuple):
    """What the exits said of some texts, each (texts, exits): what kinds of counters are made of.

    Texts that the gate let go are in `sure` only: elsewhere it is as if no exit ran.
    """

    labels: NDArray[np.integer]
    ran: NDArray[np.bool_]
    stopped: NDArray[np.bool_]
    differs: NDArray[np.bool_]  # from exit 0
    steps: NDArray[np.integer]  # 1: it differs from exit 0 here and not one exit before; -1: back
    duels: NDArray[np.bool_]  # it differs from the exit before
    credits: NDArray[np.integer]  # in thousandths, like their squares and the scores
    squares: NDArray[np.integer]
    scores: NDArray[np.integer]
    held: NDArray[np.bool_]  # at the exit that would have been sent
    sure: NDArray[np.bool_]  # at the exit where the gate let it go

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
        held = sure = nothing
        if chosen is not None:
            wanted, ended = chosen[:, None], ran.sum(axis=1, keepdims=True) - 1
            exits = np.arange(labels.shape[1])
            held = (exits == wanted) & (wanted >= 0) & (wanted <= ended) & ran[:, -1:]
            sure = (exits == ended) & (ended < wanted)
            ran = ran & (ended >= wanted)
        differs = (labels != labels[:, :1]) & ran
        stopped = ran & ~np.pad(ran[:, 1:], ((0, 0), (0, 1)))
        steps = np.diff(differs.astype(np.int8), axis=1, prepend=0)
        worth = where_ran(credits)
        return cls(
            labels=labels,
            ran=ran,
            stopped=stopped,
            differs=differs,
            steps=steps,
            duels=(np.diff(labels, axis=1, prepend=labels[:, :1]) != 0) & ran,
            credits=worth,
            squares=nothing if credits is None else squared(worth),
            scores=where_ran(scores),
            held=held,
            sure=sure,
        )


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
    chosen: Sequence[int | None],
    exits: int,
    what: str,
) -> list[tuple[int, ...]]:
    """Return credits or scores exit by exit, of texts with these labels; none that was let go."""
    _check(numbers, list(map(len, rows)), what)
    counting = [
        of_text
        for of_text, exit_ in zip(numbers, chosen, strict=True)
        if exit_ is None or exit_ < len(of_text)
    ]
    return list(zip_longest(*counting, (0,) * exits, fillvalue=0))


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
