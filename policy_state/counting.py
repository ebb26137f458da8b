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
            held = (exits == wanted) & (wanted >= 0) & (wanted < ended) & ran[:, -1:]
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
            squares=nothing if credits is None else (worth**2 + THOUSAND // 2) // THOUSAND,
            scores=where_ran(scores),
            held=held,
            sure=sure,
        )


def matrix_of(rows: Sequence[tuple[int, ...]], exits: int) -> NDArray[np.integer]:
    """Return the labels of texts as a matrix (texts, exits); -1 where an exit did not run."""
    for row in rows:
        if not 1 <= len(row) <= exits:
            raise InvalidInput(
                f"{counted(len(row), 'exit label')} for one text, this policy has "
                f"{counted(exits, 'exit')}"
            )
    return _padded(rows, exits)


def thousandths(
    numbers: Sequence[Sequence[int]], rows: Sequence[tuple[int, ...]], exits: int, what: str
) -> NDArray[np.integer]:
    """Return credits or scores as a matrix (texts, exits), for texts with labels in `rows`."""
    depths = list(map(len, rows))
    if list(map(len, numbers)) != depths:
        raise InvalidInput(f"{what}s of {counted(len(numbers), 'text')} do not fit their labels")
    found = _padded(numbers, exits)
    if found.max(initial=0) > THOUSAND or (found >= 0).sum() != sum(depths):
        raise InvalidInput(f"a {what} is outside 0..{THOUSAND} thousandths")
    return found


def _padded(rows: Sequence[Sequence[int]], exits: int) -> NDArray[np.integer]:
    import numpy as np

    columns = zip_longest(*rows, (_NO_LABEL,) * exits, fillvalue=_NO_LABEL)
    flat = np.fromiter(chain.from_iterable(columns), dtype=np.int64)
    return flat.reshape(exits, -1).T[:-1]


def chosen_exits(
    chosen: Sequence[int | None], rows: Sequence[tuple[int, ...]]
) -> NDArray[np.integer]:
    """Return the exit that would have been sent of each text, -1 for the one where it stopped."""
    import numpy as np

    if len(chosen) != len(rows):
        raise InvalidInput(f"chosen exits of {counted(len(chosen), 'text')}, labels of {len(rows)}")
    return np.array([_NO_LABEL if exit_ is None else exit_ for exit_ in chosen])
